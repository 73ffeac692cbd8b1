import type pg from 'pg';
import { sqlState } from '../../errors/sqlstate.ts';
import { connect } from '../../pg/connect.ts';
import type { Endpoint } from '../../pg/endpoint.ts';
import { type Finding, type SideFacts, stop, warn } from './finding.ts';

/**
 * Proves that a second session reaches the same server directly: an exported snapshot can be imported there, and the
 * backend's pid is the one the protocol named. A pooler, a reader endpoint or a multi-host name fails one of them.
 */
export async function checkDirect(
  client: pg.Client,
  endpoint: Endpoint,
  facts: SideFacts,
): Promise<Finding[]> {
  const { side } = facts;
  const fix = `use the server's own host and port in --${side}-url, not a pooler's or a load balancer's`;
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const named = (client as pg.Client & { processID?: number | null }).processID;
  if (typeof named === 'number' && named !== rows[0]?.pid)
    return [stop('direct', side, { expected: 'a direct connection', found: 'a pooler in between', fix })];
  if (facts.inRecovery) return [];
  const second = await connect(endpoint, { purpose: 'preflight' });
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows: snapshots } = await client.query<{ id: string }>('SELECT pg_export_snapshot() AS id');
    await second.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await second.query(`SET TRANSACTION SNAPSHOT '${snapshots[0]?.id.replaceAll("'", "''")}'`);
    return [];
  } catch (error) {
    if (sqlState(error) !== '22023' && sqlState(error) !== '42704') throw error;
    return [
      stop('direct', side, {
        expected: 'one server behind the URL',
        found: 'sessions on different servers',
        fix,
      }),
    ];
  } finally {
    await second.end();
    await client.query('ROLLBACK');
  }
}

const PROBE_LOCK_MS = 3_000;

/**
 * Proves that decoding works, with a temporary slot that goes with its session. Only worth trying where level, rights
 * and room are there.
 */
export async function checkDecoding(endpoint: Endpoint, facts: SideFacts): Promise<Finding[]> {
  const { side } = facts;
  let walsender: pg.Client;
  try {
    walsender = await connect(endpoint, {
      purpose: 'preflight',
      replication: true,
      settings: { lock_timeout: `${PROBE_LOCK_MS}ms` },
    });
  } catch (error) {
    return [
      stop('decoding', side, {
        expected: 'a replication connection to the database',
        found: `refused (${sqlState((error as Error).cause) ?? 'no answer'})`,
        fix: `allow ${facts.login} in pg_hba.conf for database ${facts.database}, and check max_wal_senders`,
      }),
    ];
  }
  try {
    const name = `orchestrate_probe_${process.pid}_${Date.now().toString(36)}`;
    await walsender.query(
      `CREATE_REPLICATION_SLOT "${name}" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')`,
    );
    return [];
  } catch (error) {
    if (sqlState(error) === '55P03')
      return [
        warn('decoding', side, {
          expected: `a temporary slot within ${PROBE_LOCK_MS} ms`,
          found: 'open writing transactions that it has to wait for',
          fix: 'end long transactions before orchestrate run: SELECT pid, xact_start FROM pg_stat_activity ORDER BY 2',
        }),
      ];
    return [
      stop('decoding', side, {
        expected: 'a temporary logical slot can be made',
        found: `the server refused (${sqlState(error) ?? 'no code'})`,
        fix: `CREATE_REPLICATION_SLOT … TEMPORARY LOGICAL pgoutput as ${facts.login} on ${side} shows the server's reason`,
      }),
    ];
  } finally {
    await walsender.end();
  }
}

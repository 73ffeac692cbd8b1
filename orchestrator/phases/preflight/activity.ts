import type { ClientBase } from 'pg';
import type { Side } from '../../pg/side.ts';
import { type Finding, type SideFacts, warn } from './finding.ts';

const LONG = `
  SELECT string_agg(format('pid %s for %s s', a.pid, floor(extract(epoch FROM clock_timestamp() - a.xact_start))), ', '
                    ORDER BY a.xact_start) AS transactions
  FROM pg_stat_activity AS a
  WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND a.xact_start < clock_timestamp() - interval '5 minutes'`;

const PREPARED = `
  SELECT string_agg(quote_literal(x.gid), ', ' ORDER BY x.prepared) AS transactions
  FROM pg_prepared_xacts AS x
  WHERE x.database = current_database()`;

const VACUUM = `
  SELECT count(*)::integer AS running
  FROM pg_stat_progress_vacuum AS v
  WHERE v.relid = to_regclass($1)`;

/** What is going on right now that prepare or a freeze would have to wait for. */
export async function checkActivity(client: ClientBase, facts: SideFacts, table: string): Promise<Finding[]> {
  const { side } = facts;
  const findings: Finding[] = [];
  const { rows: long } = await client.query<{ transactions: string | null }>(LONG);
  if (long[0]?.transactions)
    findings.push(
      warn('long-transactions', side, {
        expected: 'no transaction older than 5 minutes: the slot waits for writers, and a freeze too',
        found: long[0].transactions,
        fix: 'end them: SELECT pg_terminate_backend(pid)',
      }),
    );
  const { rows: prepared } = await client.query<{ transactions: string | null }>(PREPARED);
  if (prepared[0]?.transactions)
    findings.push(
      warn('prepared-transactions', side, {
        expected: 'no prepared transaction',
        found: prepared[0].transactions,
        fix: `COMMIT PREPARED or ROLLBACK PREPARED ${prepared[0].transactions}`,
      }),
    );
  const { rows: vacuum } = await client.query<{ running: number }>(VACUUM, [table]);
  if ((vacuum[0]?.running ?? 0) > 0)
    findings.push(
      warn('vacuum', side, {
        expected: `no vacuum of ${table}`,
        found: 'one is running',
        fix: 'wait for it: SELECT * FROM pg_stat_progress_vacuum',
      }),
    );
  return findings;
}

const CLOCK = 'SELECT extract(epoch FROM clock_timestamp())::float8 AS seconds';
const CLOCK_TOLERANCE_SECONDS = 1;

/** Compares the two servers' clocks by way of ours; half a round trip is the error of each reading. */
export async function checkClocks(clients: Readonly<Record<Side, ClientBase>>): Promise<Finding[]> {
  const offset = async (side: Side) => {
    const before = performance.now();
    const { rows } = await clients[side].query<{ seconds: number }>(CLOCK);
    const after = performance.now();
    return { seconds: (rows[0]?.seconds ?? 0) - (before + after) / 2_000, error: (after - before) / 2_000 };
  };
  const blue = await offset('blue');
  const green = await offset('green');
  const apart = Math.abs(blue.seconds - green.seconds);
  if (apart <= CLOCK_TOLERANCE_SECONDS + blue.error + green.error) return [];
  return [
    warn('clock', null, {
      expected: `the servers' clocks agree within ${CLOCK_TOLERANCE_SECONDS} s: lag is measured with both`,
      found: `${apart.toFixed(1)} s apart`,
      fix: 'synchronise both hosts (chronyc tracking)',
    }),
  ];
}

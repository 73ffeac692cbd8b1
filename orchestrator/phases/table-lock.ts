import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';

/** The first tries stall nobody who would notice. */
const FIRST_TRY_MS = 150;
/** Below deadlock_timeout's default: a writer that takes the tables in another order is not the one to be sacrificed. */
const LAST_TRY_MS = 800;
/** Above it: only then does an autovacuum in the way yield (HISTORIES 20). */
const VACUUM_TRY_MS = 1_200;
const PAUSE_MS = 300;

const IN_THE_WAY = `
  SELECT string_agg(who, ', ' ORDER BY who) AS who
  FROM (
    SELECT DISTINCT coalesce('pid ' || l.pid, 'prepared transaction ' || quote_literal(x.gid)) AS who
    FROM pg_locks AS l
    -- A prepared transaction has no pid; it is known by the lock on its own xid.
    LEFT JOIN pg_locks AS t
      ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid'
         AND t.virtualtransaction = l.virtualtransaction
    LEFT JOIN pg_prepared_xacts AS x ON x.transaction = t.transactionid
    WHERE l.locktype = 'relation'
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND l.relation = ANY (ARRAY(SELECT to_regclass(t) FROM unnest($1::text[]) AS t))
      AND l.granted
      AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
      AND l.pid IS DISTINCT FROM pg_backend_pid()) AS b`;

/** An autovacuum worker has a database and no user; its kind is hidden from whoever is not in pg_read_all_stats. */
const VACUUM_IN_THE_WAY = `
  SELECT EXISTS (
    SELECT FROM pg_locks AS l
    JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted
      AND l.relation = ANY (ARRAY(SELECT to_regclass(t) FROM unnest($1::text[]) AS t))
      AND a.usesysid IS NULL AND a.datid IS NOT NULL) AS vacuum`;

/**
 * Runs work that locks `tables` against writers. Short tries with pauses: a lock that is waited for stalls every
 * writer queued behind it.
 * @param tables quoted, qualified names.
 * @param attempt gets the lock_timeout (ms) to set; it is run again, whole, after a lock was not granted.
 * @throws OrchestrateError LOCK_TIMEOUT that names the pids and prepared transactions in the way.
 */
export async function withTableLock<T>(
  client: ClientBase,
  tables: readonly string[],
  what: string,
  waitMs: number,
  attempt: (lockTimeoutMs: number) => Promise<T>,
): Promise<T> {
  const deadline = Date.now() + waitMs;
  let vacuum = false;
  for (let tries = 0; ; tries++) {
    try {
      const tryMs = vacuum ? VACUUM_TRY_MS : Math.min(FIRST_TRY_MS * 2 ** tries, LAST_TRY_MS);
      return await attempt(Math.min(tryMs, waitMs));
    } catch (error) {
      // An application that writes the tables in another order than ours meets us as a deadlock: also only waiting.
      if (!['55P03', '40P01'].includes(sqlState(error) ?? '')) throw error;
      if (Date.now() + PAUSE_MS >= deadline)
        throw failure('LOCK_TIMEOUT', {
          message: `${what}: the tables could not be locked`,
          expected: `no transaction that holds ${tables.join(', ')} for longer than ${waitMs} ms`,
          found: (await inTheWay(client, tables)) ?? 'it has ended meanwhile',
          fix: 'end the named sessions (SELECT pg_terminate_backend(pid)) or ROLLBACK PREPARED the transactions, then orchestrate run',
          cause: error,
        });
      vacuum = await vacuumInTheWay(client, tables);
      await delay(PAUSE_MS);
    }
  }
}

async function vacuumInTheWay(client: ClientBase, tables: readonly string[]): Promise<boolean> {
  const { rows } = await client.query<{ vacuum: boolean }>(VACUUM_IN_THE_WAY, [tables]);
  return rows[0]?.vacuum === true;
}

async function inTheWay(client: ClientBase, tables: readonly string[]): Promise<string | null> {
  const { rows } = await client.query<{ who: string | null }>(IN_THE_WAY, [tables]);
  return rows[0]?.who ?? null;
}

import type { ClientBase } from 'pg';

/** Whoever keeps the tables' write lock from us. */
export interface Blocker {
  /** null for a prepared transaction, which has no session. */
  readonly pid: number | null;
  readonly gid: string | null;
  readonly kind: string;
  /** Seconds since its transaction began; 0 where we may not see it. */
  readonly age: number;
  /** A session of a client that our login may end. Prepared transactions are promises and never ended. */
  readonly endable: boolean;
}

/**
 * Without pg_read_all_stats the kind of somebody else's backend is hidden; that an autovacuum worker has a database and
 * no user is not. A prepared transaction is known by the lock on its own id.
 */
const BLOCKERS = `
  SELECT DISTINCT a.pid, p.gid,
         CASE
           WHEN k.pid IS NULL THEN 'prepared transaction'
           WHEN a.backend_type IS NOT NULL THEN a.backend_type
           WHEN a.usesysid IS NULL AND a.datid IS NOT NULL THEN 'autovacuum worker'
           ELSE 'session'
         END AS kind,
         coalesce(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared)), 0)::double precision
           AS age,
         a.usesysid IS NOT NULL AND a.usename <> session_user
           AND CASE WHEN u.rolsuper THEN (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
                    ELSE pg_has_role(session_user, a.usesysid, 'USAGE')
                         OR pg_has_role(session_user, 'pg_signal_backend', 'USAGE') END AS endable
  FROM pg_locks AS k
  LEFT JOIN pg_stat_activity AS a ON a.pid = k.pid
  LEFT JOIN pg_roles AS u ON u.oid = a.usesysid
  LEFT JOIN pg_locks AS x ON k.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
    AND x.virtualtransaction = k.virtualtransaction
  LEFT JOIN pg_prepared_xacts AS p ON p.transaction = x.transactionid
  WHERE k.locktype = 'relation' AND k.granted AND k.pid IS DISTINCT FROM pg_backend_pid()
    AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND k.relation = ANY (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS t(name))
    AND k.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                   'ExclusiveLock', 'AccessExclusiveLock')
  ORDER BY age DESC`;

/** @returns what keeps the tables' write lock from us, the oldest transaction first. */
export async function lockBlockers(client: ClientBase, tables: readonly string[]): Promise<Blocker[]> {
  const { rows } = await client.query<Blocker>(BLOCKERS, [tables]);
  return rows;
}

/** As an operator finds it again. */
export function nameOf(blocker: Blocker): string {
  const who = blocker.pid === null ? `prepared ${blocker.gid ?? 'transaction'}` : `pid ${blocker.pid}`;
  return blocker.pid === null
    ? `${who} (${blocker.age.toFixed(1)} s)`
    : `${who} (${blocker.kind}, ${blocker.age.toFixed(1)} s)`;
}

/**
 * Ends the sessions among them that may be ended. What they had not committed was never acknowledged: nothing is lost.
 * @returns their pids.
 */
export async function endBlockers(client: ClientBase, blockers: readonly Blocker[]): Promise<number[]> {
  const pids = blockers.flatMap((b) => (b.endable && b.pid !== null ? [b.pid] : []));
  if (pids.length > 0)
    await client.query('SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS t(pid)', [pids]);
  return pids;
}

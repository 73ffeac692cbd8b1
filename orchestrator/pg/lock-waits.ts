import type { ClientBase } from 'pg';
import type { Side } from './side.ts';

/** A session that waits for a lock, because of us or of one of the application's tables. */
export interface LockWait {
  readonly side: Side;
  readonly pid: number;
  /** Whether the session is ours. */
  readonly ours: boolean;
  /** The table; null for a row's or a transaction's lock. */
  readonly relation: string | null;
  readonly mode: string;
  readonly seconds: number;
  /** Who is in the way; pid 0 is a prepared transaction. */
  readonly blocked_by: readonly { readonly pid: number; readonly ours: boolean }[];
}

/** The lease's advisory lock is left out: a second replica is meant to wait for it. */
const WAITS = `
  SELECT l.pid, a.application_name LIKE 'orchestrate/%' AS ours, l.relation::regclass::text AS relation, l.mode,
         coalesce(extract(epoch FROM clock_timestamp() - l.waitstart), 0)::double precision AS seconds,
         ARRAY(SELECT jsonb_build_object('pid', b.pid, 'ours', coalesce(o.application_name LIKE 'orchestrate/%', false))
               FROM (SELECT DISTINCT unnest(pg_blocking_pids(l.pid)) AS pid) AS b
               LEFT JOIN pg_catalog.pg_stat_activity AS o ON o.pid = b.pid
               ORDER BY b.pid) AS blocked_by
  FROM pg_catalog.pg_locks AS l
  JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid AND a.datname = current_database()
  WHERE NOT l.granted AND l.locktype <> 'advisory'
  ORDER BY seconds DESC, l.pid
  LIMIT 50`;

/**
 * @param tables quoted, qualified names that are of interest whoever waits for them.
 * @returns the waits that concern us, the longest first.
 */
export async function lockWaits(
  client: ClientBase,
  side: Side,
  tables: readonly string[],
): Promise<LockWait[]> {
  const [{ rows }, { rows: named }] = [
    await client.query<Omit<LockWait, 'side'>>(WAITS),
    // As the server prints them, whatever the search path is.
    await client.query<{ name: string | null }>(
      'SELECT to_regclass(t)::text AS name FROM unnest($1::text[]) AS t',
      [tables],
    ),
  ];
  const ours = new Set(named.map((n) => n.name));
  return rows
    .filter(
      (w) => w.ours || w.blocked_by.some((b) => b.ours) || (w.relation !== null && ours.has(w.relation)),
    )
    .map((wait) => ({ side, ...wait }));
}

import { setTimeout as delay } from 'node:timers/promises';
import { failure } from '../errors/failure.ts';

/**
 * The visibility rule (DESIGN 5, HISTORIES 1): the walsender sends a commit that is flushed, and queries may see it
 * only later, e.g. after a synchronous standby has answered. Whoever reads the source to answer a change therefore
 * asks in the same statement whether every transaction of the batch is in that statement's snapshot.
 *
 * The stream speaks of 32-bit ids. The full one is the one nearest to the snapshot's `xmax`, on either side of it: a
 * commit that queries do not see yet may well have an id beyond `xmax`, and the epoch of `xmax` alone would make it a
 * transaction of 4 billion ids ago.
 *
 * @param xids the parameter that holds the ids, e.g. `$1`; any array that casts to `bigint[]`.
 * @returns a scalar boolean expression; true for no ids at all.
 */
export function visible(xids: string): string {
  return `(
    SELECT coalesce(bool_and(pg_visible_in_snapshot(
             (s.xmax + ((t.xid - s.xmax + 2147483648) & 4294967295) - 2147483648)::text::xid8, s.snapshot)), true)
    FROM (SELECT c.snapshot, pg_snapshot_xmax(c.snapshot)::text::bigint AS xmax
          FROM (SELECT pg_current_snapshot() AS snapshot) AS c) AS s,
         unnest(${xids}::bigint[]) AS t(xid))`;
}

const LONGEST_WAIT_MS = 2_000;

/**
 * Reads until every transaction of the batch is visible to the read, bounded: with a synchronous standby that is a
 * matter of its round trip, and a new connection for each would be a poor answer.
 * @param read returns undefined when its own statement did not see every transaction.
 * @throws OrchestrateError NOT_VISIBLE (transient: the same work is done again, nothing is acknowledged).
 */
export async function whenVisible<T>(signal: AbortSignal, read: () => Promise<T | undefined>): Promise<T> {
  const start = performance.now();
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
    const result = await read();
    if (result !== undefined) return result;
    if (performance.now() - start > LONGEST_WAIT_MS)
      throw failure('NOT_VISIBLE', {
        expected: 'every transaction of the batch is visible to queries on its source',
        found: 'one that is streamed but not yet visible',
      });
    await delay(waitMs, undefined, { signal });
  }
}

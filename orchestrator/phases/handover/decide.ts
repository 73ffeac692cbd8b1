import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { fencedTables, fenceFailure } from '../../fence/fence.ts';
import { formatLsn, type Lsn } from '../../pg/lsn.ts';
import { directionFrom, type HandoverKind, otherSide, type Side } from '../../pg/side.ts';
import type { Context } from '../../state/context.ts';
import type { Frozen } from './freeze.ts';

/** The server, slot and position at which the stream back will start. */
export interface StreamBack {
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly slot: string;
  readonly position: Lsn;
}

/** The part of a lease that decide leaves unused, so that its commit still falls inside it. */
export function marginMs(budgetMs: number): number {
  return Math.min(500, Math.max(100, budgetMs / 20));
}

/**
 * Step 8, the point of no return, as one server-side call on the serving side: the lock, *then* the clock (HISTORIES
 * 11, 18). A reply means that it is committed; an error of the server means that it is not; anything else is unknown.
 */
export async function decide(
  client: ClientBase,
  ctx: Context,
  serving: Side,
  kind: HandoverKind,
  attempt: string,
  frozen: Frozen,
  back: StreamBack,
  budgetMs: number,
  waitMs: number,
): Promise<void> {
  const claim = ctx.claim();
  const standby = otherSide(serving);
  try {
    await client.query(
      `SELECT orchestrator.decide($1, $2, $3, $4, $5, $6, $7, $8, $9::pg_lsn, $10, $11, $12, $13, $14, $15)`,
      [
        claim.migration,
        claim.epoch.toString(),
        claim.generation.toString(),
        fencedTables(ctx, serving),
        attempt,
        kind,
        standby,
        directionFrom(standby),
        formatLsn(back.position),
        back.systemIdentifier,
        back.timeline,
        back.slot,
        frozen.late,
        Math.round(marginMs(budgetMs)),
        Math.round(waitMs),
      ],
    );
  } catch (error) {
    throw fenceFailure(error, serving, 'decide');
  }
}

const FOLLOWED = `
  SELECT count(*)::integer AS standbys
  FROM pg_stat_replication AS r
  WHERE NOT EXISTS (SELECT FROM pg_replication_slots AS s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')`;

/** @returns whether a physical standby could take the place of that server. */
export async function hasPhysicalStandbys(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ standbys: number }>(FOLLOWED);
  return rows[0]?.standbys !== 0;
}

const BEHIND = `
  SELECT count(*)::integer AS behind
  FROM pg_stat_replication AS r
  WHERE NOT EXISTS (SELECT FROM pg_replication_slots AS s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
    AND r.state = 'streaming'
    AND r.flush_lsn < (SELECT max(decided_lsn) FROM orchestrator.decision)`;

/**
 * Waits until the old serving side's physical standbys have the decision on disk: a failover of it in the next moment
 * must not bring back a server that believes it serves. Bounded also where that side hangs: writes are refused on both
 * meanwhile (I5).
 */
export async function awaitPhysicalStandbys(client: ClientBase, limitMs: number): Promise<void> {
  const over = new AbortController();
  const limit = delay(limitMs, undefined, { signal: over.signal }).catch(() => {});
  const caughtUp = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const { rows } = await client.query<{ behind: number }>(BEHIND);
      if (rows[0]?.behind === 0) return;
      await delay(10);
    }
  };
  try {
    await Promise.race([caughtUp(), limit]);
  } finally {
    over.abort();
  }
}

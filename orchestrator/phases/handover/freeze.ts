import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { qualified } from '../../../src/mapping/identifier.ts';
import { failure } from '../../errors/failure.ts';
import { sqlState } from '../../errors/sqlstate.ts';
import { fencedTables, fenceFailure } from '../../fence/fence.ts';
import { type Lsn, parseLsn } from '../../pg/lsn.ts';
import type { Side } from '../../pg/side.ts';
import type { Context } from '../../state/context.ts';
import { type Blocker, endBlockers, lockBlockers, nameOf } from './blockers.ts';
import { vacuumWaitMs } from './vacuum.ts';

/** A granted freeze: writes on the serving side are refused until the deadline, and then let through again. */
export interface Frozen {
  readonly barrier: Lsn;
  /** Statements that had passed an expired lease before; decide insists that there are no more. */
  readonly late: string;
  /** Epoch seconds on the serving side's clock. */
  readonly at: number;
}

/** The longest that one try may make writers queue behind it. */
const TRY_MS = 500;
/** With the first table in hand: longer is a deadlock more often than a slow writer. */
const LATER_MS = 150;
const PAUSE_MS = 250;
const SHORT_PAUSE_MS = 60;
/** Writers that end by themselves within this time are never ended by us. */
const PATIENCE_MS = 1_000;

/**
 * In which order green's tables are locked, try by try. A transaction of the application that has written the first of
 * them keeps us waiting while we hold nothing it wants; in another order than its own it would wait for us as we wait
 * for it, until the try ends. The orders are those in which people are signed up, and in which they are deleted.
 */
const LOCK_ORDERS = [
  ['user', 'org', 'org_user', 'settings', 'role'],
  ['org', 'user', 'org_user', 'settings', 'role'],
  ['settings', 'org_user', 'user', 'org', 'role'],
] as const;

function tablesInOrder(ctx: Context, side: Side, tries: number): string[] {
  const order = LOCK_ORDERS[tries % LOCK_ORDERS.length];
  if (side === 'blue' || order === undefined) return fencedTables(ctx, side);
  return order.map((name) => qualified(ctx.schemas.org, name));
}

/** The serving side's clock in epoch seconds; deadlines are counted on it. */
export async function serverClock(client: ClientBase): Promise<number> {
  const { rows } = await client.query<{ now: string }>('SELECT orchestrator.now_seconds() AS now');
  return Number(rows[0]?.now);
}

/**
 * Step 3 on the serving side: one server-side call a try. A try waits half a second for open writers, less for the
 * further tables of green, and then lets the queue behind it go; behind an autovacuum one try waits deadlock_timeout + 200 ms, because only the deadlock check
 * makes an autovacuum yield (HISTORIES 20).
 * @param deadline epoch seconds on the serving side's clock, counted from the pause of the clients.
 * @param until epoch seconds after which no further try is made.
 * @param terminate ends the sessions in the way once they have been waited for in vain (`--terminate-blockers`).
 * @throws OrchestrateError STRAGGLERS naming the pids and prepared transactions; STALE_EPOCH; HANDOVER_ABORTED. Nothing is changed then.
 */
export async function freeze(
  client: ClientBase,
  ctx: Context,
  side: Side,
  attempt: string,
  deadline: number,
  until: number,
  terminate = false,
): Promise<Frozen> {
  const tables = fencedTables(ctx, side);
  const claim = ctx.claim();
  const yieldMs = await vacuumWaitMs(client);
  const asked = performance.now();
  let waitMs = TRY_MS;
  let yielded = false;
  for (let tries = 0; ; tries++) {
    const begun = performance.now();
    try {
      const { rows } = await client.query<{ barrier: string; late: string; frozen_at: string }>(
        'SELECT barrier::text, late, frozen_at FROM orchestrator.freeze($1, $2, $3, $4, $5, $6, $7, $8, $9)',
        [
          claim.migration,
          claim.epoch.toString(),
          claim.generation.toString(),
          tablesInOrder(ctx, side, tries),
          attempt,
          deadline,
          waitMs,
          ctx.names.messagePrefix,
          waitMs === TRY_MS ? LATER_MS : waitMs,
        ],
      );
      const row = rows[0];
      if (!row) throw failure('INTERNAL', { message: 'freeze returned nothing' });
      return { barrier: parseLsn(row.barrier), late: row.late, at: Number(row.frozen_at) };
    } catch (error) {
      // A deadlock is a writer that takes the tables in another order: like a lock not granted, nothing is changed.
      if (!['55P03', '40P01'].includes(sqlState(error) ?? '')) throw fenceFailure(error, side, 'freeze');
    }
    const holders = await lockBlockers(client, tables);
    if ((await serverClock(client)) >= until)
      throw failure('STRAGGLERS', {
        expected: 'the write lock within the first half of the budget',
        found: holders.map(nameOf).join(', ') || 'they have ended',
        serving: side,
      });
    if (terminate && performance.now() - asked > PATIENCE_MS && (await cleared(client, ctx, side, holders)))
      continue;
    const vacuum: boolean = !yielded && holders.some((h) => h.kind === 'autovacuum worker');
    waitMs = vacuum ? yieldMs : TRY_MS;
    yielded ||= vacuum;
    // Writers that queued behind the try go first.
    const pauseMs = performance.now() - begun < TRY_MS ? SHORT_PAUSE_MS : PAUSE_MS;
    if (!vacuum) await delay(pauseMs, undefined, { signal: ctx.signal });
  }
}

/** @returns whether sessions in the way were ended, so that the next try need not wait. */
async function cleared(
  client: ClientBase,
  ctx: Context,
  side: Side,
  blockers: readonly Blocker[],
): Promise<boolean> {
  const pids = await endBlockers(client, blockers);
  if (pids.length === 0) return false;
  ctx.log.warn({ side, pids }, 'sessions in the way of the freeze were ended');
  await ctx.journal('terminated', { side, pids });
  return true;
}

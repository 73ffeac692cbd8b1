import type { ClientBase } from 'pg';
import { fencedTables, fenceFailure } from '../../fence/fence.ts';
import type { Side } from '../../pg/side.ts';
import type { Context } from '../../state/context.ts';

/**
 * Step 7: everything of the standby's opening but its commit. The caller's transaction; it holds the tables' write
 * lock and the epoch row until it ends.
 * @param position L: where the stream that will leave this side starts.
 */
export async function arm(
  client: ClientBase,
  ctx: Context,
  standby: Side,
  generation: bigint,
  position: string,
  waitMs: number,
): Promise<void> {
  const claim = ctx.claim();
  try {
    await client.query('SELECT orchestrator.arm($1, $2, $3, $4, $5::pg_lsn, $6)', [
      claim.migration,
      claim.epoch.toString(),
      generation.toString(),
      fencedTables(ctx, standby),
      position,
      Math.round(waitMs),
    ]);
  } catch (error) {
    throw fenceFailure(error, standby, 'arm');
  }
}

/** Gives the serving side back to its clients: only from this attempt's own lease, never after its decision. */
export async function reopen(
  client: ClientBase,
  ctx: Context,
  side: Side,
  attempt: string,
  waitMs = 2_000,
): Promise<void> {
  const claim = ctx.claim();
  try {
    await client.query('SELECT orchestrator.reopen($1, $2, $3, $4, $5, $6)', [
      claim.migration,
      claim.epoch.toString(),
      claim.generation.toString(),
      fencedTables(ctx, side),
      attempt,
      waitMs,
    ]);
  } catch (error) {
    throw fenceFailure(error, side, 'reopen');
  }
}

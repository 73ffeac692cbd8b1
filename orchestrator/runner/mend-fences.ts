import type pg from 'pg';
import { sqlState } from '../errors/sqlstate.ts';
import { installFence, readFence } from '../fence/fence.ts';
import { SIDES, type Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { ownerOf } from '../phases/control.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';

/** Below every deadlock_timeout: the application never becomes the victim of a wait of ours. */
const WAIT_MS = 500;

/**
 * Makes fences again that somebody has dropped, disabled or changed (I2): the standby's are closed, the serving side's
 * open. What was written on an unfenced standby is unknown, so the sweeps made so far prove nothing any more.
 *
 * The caller holds the lease, knows the truth and has no handover under way. A lock that cannot be had is left for the
 * next start; until then the gate `fence` is closed.
 */
export async function mendFences(
  ctx: Context,
  clients: Readonly<Record<Side, pg.Client>>,
  serving: Side,
): Promise<void> {
  for (const side of SIDES) {
    const { state } = await readFence(clients[side], ctx, side);
    const unfenced = state === 'absent' || state === 'broken' || (side !== serving && state === 'open');
    if (!unfenced) continue;
    await trustNoSweep(ctx, clients.green);
    try {
      await mend(ctx, clients[side], side, side === serving ? 'open' : 'closed');
    } catch (error) {
      if (sqlState(error) !== '55P03') throw error;
      ctx.log.warn({ side, fence: state }, 'the fence could not be made again: its tables are in use');
      continue;
    }
    await ctx.journal('fence', { side, found: state, made: side === serving ? 'open' : 'closed' });
  }
}

async function trustNoSweep(ctx: Context, green: pg.Client): Promise<void> {
  await transaction(green, async () => {
    await holdClaim(green, ctx.claim());
    await green.query('UPDATE orchestrator.sweep SET void = true');
  });
}

async function mend(ctx: Context, client: pg.Client, side: Side, state: 'open' | 'closed'): Promise<void> {
  const owner = await ownerOf(ctx, client, side);
  await transaction(client, async () => {
    await client.query(`SET LOCAL lock_timeout = '${WAIT_MS}ms'`);
    await holdClaim(client, ctx.claim());
    await installFence(client, ctx, side, state, owner);
  });
}

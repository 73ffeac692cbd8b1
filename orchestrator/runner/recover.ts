import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { readFence } from '../fence/fence.ts';
import { otherSide, SIDES, type Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { awaitPhysicalStandbys } from '../phases/handover/decide.ts';
import { arm, reopen } from '../phases/handover/open.ts';
import type { Context } from '../state/context.ts';
import { readDecision, readSide, type SideRow } from '../state/store.ts';

/** Who serves, as the two sides' own rows say. */
export interface Truth {
  readonly serving: Side;
  readonly generation: bigint;
  /** Whether a decided handover was finished, or a frozen side reopened, just now. */
  readonly did: 'nothing' | 'opened' | 'reopened';
}

/**
 * Reads the truth from both sides and completes what a dead runner, or a statement of unknown outcome, left half done.
 * The caller has just taken an epoch on both sides: nothing of an older one can land any more.
 *
 * | serving row | standby row | fence of serving | what follows |
 * |---|---|---|---|
 * | n, serving | n, standby | open | nothing |
 * | n, serving | n, standby | leased, lapsed | (1) reopen it: no decision of that attempt is there |
 * | n, standby | n−1, standby | closed | (2) decided: open the other side, at the position the decision names |
 * | anything else | | | (3) stop; neither side is opened |
 * @param setGeneration tells the context which generation its writes belong to from now on.
 * @throws OrchestrateError BOTH_STANDBY for (3); STALE_EPOCH when somebody has taken over meanwhile.
 */
export async function recover(
  ctx: Context,
  clients: Readonly<Record<Side, pg.Client>>,
  setGeneration: (generation: bigint) => void,
): Promise<Truth> {
  const rows = { blue: await rowOf(ctx, clients.blue), green: await rowOf(ctx, clients.green) };
  if (rows.blue.generation === rows.green.generation) {
    const serving = SIDES.filter((side) => rows[side].role === 'serving');
    const side = serving[0];
    if (serving.length !== 1 || side === undefined) throw disagreement(rows);
    const { generation } = rows[side];
    setGeneration(generation);
    return { serving: side, generation, did: await reopenOwn(ctx, clients[side], side) };
  }
  const ahead: Side = rows.blue.generation > rows.green.generation ? 'blue' : 'green';
  const behind = otherSide(ahead);
  const decision = await readDecision(clients[ahead]);
  if (
    rows[ahead].generation !== rows[behind].generation + 1n ||
    rows[ahead].role !== 'standby' ||
    rows[behind].role !== 'standby' ||
    decision?.generation !== rows[ahead].generation
  )
    throw disagreement(rows);
  await awaitPhysicalStandbys(clients[ahead], 2_000);
  await failpoint('open.before');
  await transaction(clients[behind], () =>
    arm(clients[behind], ctx, behind, rows[behind].generation, decision.position, 5_000),
  );
  setGeneration(decision.generation);
  await failpoint('open.after');
  await ctx.journal('opened', { side: behind, generation: decision.generation, attempt: decision.attempt });
  return { serving: behind, generation: decision.generation, did: 'opened' };
}

const LAPSED_WAIT_MS = 50;

async function rowOf(ctx: Context, client: pg.Client): Promise<SideRow> {
  const row = await readSide(client, ctx.names.migration);
  if (!row)
    throw failure('WRONG_PHASE', {
      expected: 'a control schema on both sides',
      found: 'none on one of them',
    });
  return row;
}

async function reopenOwn(ctx: Context, client: pg.Client, side: Side): Promise<'nothing' | 'reopened'> {
  const fence = await readFence(client, ctx, side);
  if (fence.state !== 'leased' && fence.state !== 'lapsed') return 'nothing';
  try {
    await reopen(
      client,
      ctx,
      side,
      fence.attempt ?? '',
      fence.state === 'lapsed' ? LAPSED_WAIT_MS : undefined,
    );
  } catch (error) {
    // A lapsed lease lets writes through by itself and the next freeze takes it over: no writer is made to wait for us.
    if (fence.state === 'lapsed' && sqlState(error) === '55P03') return 'nothing';
    throw error;
  }
  await ctx.journal('reopened', { side, attempt: fence.attempt, fence: fence.state });
  return 'reopened';
}

function disagreement(rows: Readonly<Record<Side, SideRow>>): Error {
  const say = (side: Side) => `${side}: generation ${rows[side].generation}, ${rows[side].role}`;
  return failure('BOTH_STANDBY', {
    expected: 'one serving side, or a decision that the other side has not followed yet',
    found: `${say('blue')}; ${say('green')}`,
  });
}

import type { Settings } from '../config/settings.ts';
import { asFailure } from '../errors/as-failure.ts';
import { failure, hasCode } from '../errors/failure.ts';
import { otherSide } from '../pg/side.ts';
import { type Gate, readGates } from '../phases/handover/gates.ts';
import type { HandoverOptions } from '../phases/handover/options.ts';
import { type Prediction, predictFreeze } from '../phases/handover/prediction.ts';
import type { GateDocument } from '../state/documents.ts';
import type { HandoverOptions as Asked } from '../state/request.ts';
import { canaryRoundTrip } from '../stream/canary.ts';
import { driverOf } from '../traffic/choose.ts';
import { drift, lastSweep } from '../verify/last-sweep.ts';
import { shrinkDelta } from '../verify/shrink.ts';
import type { Runner } from './runner.ts';

const CANARY_MS = 5_000;
const MANY_KEYS = 5_000;

/** @returns what this handover may cost: what its request says, else what the runner was told. */
export function optionsOf(settings: Settings, asked: Asked): HandoverOptions {
  return {
    budgetMs: asked.freezeBudgetMs ?? settings.freezeBudgetMs,
    maxLagBytes: Number(asked.maxLagBytes ?? settings.maxLagBytes),
    maxSweepAgeMs: asked.maxSweepAgeMs ?? settings.maxSweepAgeMs,
    acceptParked: asked.acceptParked ?? settings.acceptParked,
    dryRun: asked.dryRun,
    rehearse: asked.rehearse,
    terminateBlockers: asked.terminateBlockers === true,
    traffic: driverOf(settings),
  };
}

/** What a handover would be told now, by the runner's own limits. */
export interface Judgement {
  readonly gates: readonly GateDocument[];
  readonly predictedSeconds: number;
  readonly budgetSeconds: number;
}

/** Judges the gates without changing anything but the canary's own message. */
export async function judge(runner: Runner): Promise<Judgement> {
  const options = optionsOf(runner.settings, { dryRun: true, rehearse: false });
  const { gates, prediction } = await gatesOf(runner, options);
  return {
    gates: judged(gates),
    predictedSeconds: prediction.freezeMs / 1000,
    budgetSeconds: options.budgetMs / 1000,
  };
}

/** @returns the gates as documents carry them; one that is not passed says what to do. */
export const judged = (gates: readonly Gate[]): GateDocument[] =>
  gates.map((g) => ({
    name: g.name,
    passed: g.passed,
    detail: g.passed ? g.detail : `${g.detail}; ${g.fix}`,
  }));

/** Step 1. Except for a dry run, a sweep that is missing, void, too old or without its delta is made anew first. */
export async function gatesOf(
  runner: Runner,
  options: HandoverOptions,
): Promise<{ gates: Gate[]; prediction: Prediction; swept: object }> {
  const { ctx, sync } = runner;
  if (!sync) throw failure('WRONG_PHASE', { expected: 'syncing', found: 'no stream' });
  const { serving, applier } = sync;
  const { clients } = runner.control;
  const drifted = () => drift(ctx, clients);
  let sweep = await lastSweep(clients.green, ctx);
  const stale =
    sweep === null ||
    !sweep.clean ||
    sweep.void ||
    sweep.ageSeconds * 1000 > options.maxSweepAgeMs ||
    applier.delta.lost ||
    (await drifted()).length > 0;
  if (stale && !options.dryRun) {
    // A transaction that stays open holds up every new snapshot: the gates then say which one it is.
    await runner.sweeps.now().catch((error: unknown) => {
      if (!hasCode(error, 'LOCK_TIMEOUT')) throw error;
    });
    sweep = await lastSweep(clients.green, ctx);
  }
  if (!options.dryRun && sweep?.clean && serving === 'blue') await runner.armReverse();
  // So many would be most of the predicted freeze.
  if (!options.dryRun && (applier.delta.size ?? 0) > MANY_KEYS) await shrinkBefore(runner);
  const prediction = predictFreeze(applier.status.lagSeconds, applier.delta.size ?? 0);
  ctx.metrics.set('freeze_predicted_seconds', {}, prediction.freezeMs / 1000);
  ctx.metrics.set('freeze_budget_seconds', {}, options.budgetMs / 1000);
  const gates = await readGates({
    ctx,
    kind: serving === 'blue' ? 'cutover' : 'revert',
    serving,
    clients,
    applier: applier.status,
    delta: { size: applier.delta.size ?? 0, lost: applier.delta.lost },
    sweep,
    drift: drifted,
    canary: () => canaryRoundTrip(ctx, otherSide(serving), clients, CANARY_MS),
    prediction,
    options,
  });
  const swept = { sweep_lsn: sweep?.lsn ?? null, rows_compared: sweep?.result.rows_compared ?? null };
  return { gates, prediction, swept };
}

/** Makes the delta small while writes go on. It is no condition of a handover: a large one only freezes for longer. */
export async function shrinkBefore({ ctx, sync }: Runner): Promise<void> {
  if (!sync || sync.applier.delta.lost) return;
  await shrinkDelta(ctx, sync.serving, sync.applier).catch((error: unknown) => {
    if (ctx.signal.aborted) throw error;
    ctx.log.warn({ code: asFailure(error).code }, 'the delta could not be made smaller');
  });
}

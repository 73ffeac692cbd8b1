import type { Settings } from '../config/settings.ts';
import { failure } from '../errors/failure.ts';
import type { Lsn } from '../pg/lsn.ts';
import { buildPhase } from '../phases/build.ts';
import { shareOf } from '../phases/build-share.ts';
import { makeCompatView } from '../phases/compat-view.ts';
import { copyPhase } from '../phases/copy.ts';
import { copyGuard } from '../phases/copy-guard.ts';
import { preflight } from '../phases/preflight.ts';
import { prepare } from '../phases/prepare.ts';
import type { Context } from '../state/context.ts';
import type { State } from '../state/state.ts';
import { changeState } from '../state/store.ts';
import { Applier } from '../stream/applier.ts';
import { forwardSink } from '../stream/apply.ts';
import type { Runner } from './runner.ts';

/** The states before sync, in which long work goes on that an abort may interrupt. */
export type Beginning = Extract<State, { phase: 'created' | 'prepared' | 'copying' | 'building' }>;

/** Does the work of one state before sync and moves on to the next; resumes what an earlier runner left. */
export async function advance(runner: Runner, ctx: Context, state: Beginning): Promise<void> {
  const green = runner.control.clients.green;
  switch (state.phase) {
    case 'created': {
      const { slot, madeOrgTables } = await prepare(ctx);
      runner.heldSlot = slot;
      const evidence = { slot: slot.name, consistent_point: slot.consistentPoint };
      await changeState(green, ctx.claim(), { phase: 'prepared', madeOrgTables }, evidence);
      return;
    }
    case 'prepared': {
      const { madeOrgTables } = state;
      await changeState(green, ctx.claim(), { phase: 'copying', madeOrgTables });
      return;
    }
    case 'copying': {
      const { madeOrgTables } = state;
      await copy(runner, ctx);
      await changeState(green, ctx.claim(), { phase: 'building', madeOrgTables });
      return;
    }
    case 'building': {
      const { madeOrgTables } = state;
      await buildPhase(ctx, (until) => catchUp(runner, ctx, until), shareOf(runner.settings.copyWorkers));
      if (runner.settings.compatView) await makeCompatView(ctx, green);
      await changeState(green, ctx.claim(), { phase: 'syncing', madeOrgTables, serving: 'blue' });
      return;
    }
  }
}

/** @throws OrchestrateError PREFLIGHT_FAILED with every finding that is a stop. */
export async function mustPass(ctx: Context, settings: Settings): Promise<void> {
  const report = await preflight(ctx, { copyWorkers: settings.copyWorkers });
  if (report.ok) return;
  const stops = report.findings.filter((f) => f.severity === 'stop');
  const first = stops[0];
  throw failure('PREFLIGHT_FAILED', {
    message: stops
      .map((f) => `${f.check}${f.side ? ` on ${f.side}` : ''}: expected ${f.expected}, found ${f.found}`)
      .join('; '),
    expected: first?.expected ?? 'no findings',
    found: first?.found ?? 'findings',
    fix: first?.fix ?? 'orchestrate preflight',
    serving: 'blue',
  });
}

/** Under the snapshot prepare exported, or, after a restart, the rest under a newer one. */
async function copy(runner: Runner, ctx: Context): Promise<void> {
  const { copyWorkers: workers, maxCopyBytesPerSecond, copyPause } = runner.settings;
  const guard = copyGuard(ctx, copyPause);
  await copyPhase(ctx, runner.heldSlot ?? 'resume', {
    workers,
    ...(maxCopyBytesPerSecond === null ? {} : { maxRateBytes: maxCopyBytesPerSecond }),
    shouldPause: async () => (runner.paused ? 'asked for by the operator' : guard()),
  });
  await runner.heldSlot?.release();
  runner.heldSlot = undefined;
}

/** Applies what was written since the first slot position, without key rules, until the newest snapshot is passed. */
async function catchUp(runner: Runner, ctx: Context, until: Lsn): Promise<void> {
  const sink = forwardSink(ctx, { mode: 'catch-up', truncate: runner.settings.truncate });
  const applier = new Applier(ctx, 'forward', sink);
  const failed = new Promise<never>((_, reject) => applier.onFatal(reject));
  await applier.start();
  try {
    await Promise.race([applier.waitForLsn(until, ctx.signal), failed]);
  } finally {
    await applier.stop();
  }
}

import { readState, setStopped } from '../state/store.ts';
import { mendFences } from './mend-fences.ts';
import { recover } from './recover.ts';
import { cancelStale, finishDecided } from './requests.ts';
import type { Runner } from './runner.ts';
import { settleTraffic } from './settle-traffic.ts';

/**
 * What a runner does before anything else, and again when a handover left its state half-way: reads who serves,
 * finishes or undoes what was begun, moves the clients accordingly, cancels requests nobody waits for any more, and
 * makes the fences whole.
 */
export async function settle(runner: Runner): Promise<void> {
  const { ctx, control, lease } = runner;
  const green = control.clients.green;
  // A stream of before may end on the wrong side.
  await runner.endSync();
  control.setClaim({ epoch: lease.epoch });
  const truth = await recover(ctx, control.clients, (generation) => control.setClaim({ generation }));
  const { state, paused } = await readState(green, ctx.names.migration);
  runner.paused = paused;
  const left = state.phase === 'handing-over' ? state : undefined;
  const decided = left !== undefined && truth.serving !== left.serving;
  if (decided) await finishDecided(green, ctx.claim(), left.kind, truth.serving);
  await cancelStale(green, ctx.claim());
  const unmoved = left ? await settleTraffic(runner, left, decided) : undefined;
  if (left || (state.phase === 'syncing' && state.serving !== truth.serving))
    await runner.becomeSyncing(truth.serving, { recovered: truth.did }, unmoved);
  if (left || state.phase === 'syncing') await mendFences(ctx, control.clients, truth.serving);
  await setStopped(green, ctx.claim(), null);
  await ctx.journal('runner', {
    started: true,
    epoch: lease.epoch,
    holder: lease.holder,
    recovered: truth.did,
  });
}

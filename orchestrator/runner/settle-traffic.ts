import { asFailure } from '../errors/as-failure.ts';
import { otherSide } from '../pg/side.ts';
import type { State, Unmoved } from '../state/state.ts';
import { setMoved } from '../state/store.ts';
import { driverOf } from '../traffic/choose.ts';
import { moveClients, taskOf } from './move-clients.ts';
import type { Runner } from './runner.ts';

/**
 * The clients that a dead runner left paused: they are switched and resumed where the handover was decided, and given
 * back where it was not (HISTORIES 22). Each step of a driver is idempotent. A driver that fails does not keep the
 * database waiting.
 * @returns what `retryTraffic` has to go on with, if the clients could not be switched.
 */
export async function settleTraffic(
  runner: Runner,
  left: Extract<State, { phase: 'handing-over' }>,
  decided: boolean,
): Promise<Unmoved | undefined> {
  const traffic = driverOf(runner.settings);
  const unmoved: Unmoved = { attempt: left.attempt, kind: left.kind, from: left.serving };
  const task = taskOf(runner.settings.migration, unmoved);
  try {
    if (decided) await moveClients(runner.ctx, traffic, task, 0);
    else await traffic.undo(task);
    return undefined;
  } catch (error) {
    const { code } = asFailure(error);
    if (!decided)
      runner.log.error({ code, driver: traffic.name }, 'the clients could not be given back: do it by hand');
    await runner.ctx.journal('traffic', { failed: true, code, driver: traffic.name, decided });
    return decided ? unmoved : undefined;
  }
}

/** One more try to bring the clients to the side that serves; while it fails it is asked for again. */
export async function retryTraffic(runner: Runner, unmoved: Unmoved): Promise<void> {
  const traffic = driverOf(runner.settings);
  try {
    await moveClients(runner.ctx, traffic, taskOf(runner.settings.migration, unmoved), 0);
  } catch {
    return;
  }
  await setMoved(runner.control.clients.green, runner.ctx.claim(), unmoved.attempt);
  runner.log.info({ driver: traffic.name, side: otherSide(unmoved.from) }, 'the clients have been moved');
}

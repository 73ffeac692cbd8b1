import { asFailure } from '../errors/as-failure.ts';
import { otherSide } from '../pg/side.ts';
import type { State, Unmoved } from '../state/state.ts';
import { setMoved } from '../state/store.ts';
import { driverOf } from '../traffic/choose.ts';
import { taskOf } from '../traffic/driver.ts';
import { moveClients, stepDeadline } from './move-clients.ts';
import type { Runner } from './runner.ts';

/**
 * The clients that a dead runner left paused: they are switched and resumed where the handover was decided, and given
 * back where it was not (HISTORIES 22). Each step of a driver is idempotent. A driver that fails does not keep the
 * database waiting. Nor does a command that was given another driver, or none, claim to have moved them: that is left to
 * the runner that stays.
 * @returns what `retryTraffic` has to go on with: the clients could not be switched, by this handover or by one before.
 */
export async function settleTraffic(
  runner: Runner,
  left: Extract<State, { phase: 'handing-over' }>,
  decided: boolean,
): Promise<Unmoved | undefined> {
  const traffic = driverOf(runner.settings);
  const unmoved: Unmoved = { attempt: left.attempt, from: left.serving };
  const task = taskOf(runner.settings.migration, unmoved, stepDeadline());
  if (decided && !runner.mayCopy && left.driver !== undefined && left.driver !== traffic.name) return unmoved;
  try {
    if (decided) await moveClients(runner.ctx, runner.control.clients.green, traffic, task, 0);
    else await traffic.undo(task);
    return decided ? undefined : left.unmoved;
  } catch (error) {
    const { code } = asFailure(error);
    if (!decided)
      runner.log.error({ code, driver: traffic.name }, 'the clients could not be given back: do it by hand');
    await runner.ctx.journal('traffic', { failed: true, code, driver: traffic.name, decided });
    return decided ? unmoved : left.unmoved;
  }
}

/** One more try to bring the clients to the side that serves; while it fails it is asked for again. */
export async function retryTraffic(runner: Runner, unmoved: Unmoved): Promise<void> {
  const traffic = driverOf(runner.settings);
  try {
    const task = taskOf(runner.settings.migration, unmoved, stepDeadline());
    await moveClients(runner.ctx, runner.control.clients.green, traffic, task, 0);
  } catch {
    return;
  }
  await setMoved(runner.control.clients.green, runner.ctx.claim(), unmoved.attempt);
  runner.log.info({ driver: traffic.name, side: otherSide(unmoved.from) }, 'the clients have been moved');
}

import { asFailure } from '../errors/as-failure.ts';
import { otherSide } from '../pg/side.ts';
import type { State } from '../state/state.ts';
import { driverOf } from '../traffic/choose.ts';
import type { TrafficTask } from '../traffic/driver.ts';
import type { Runner } from './runner.ts';

const LIMIT_SECONDS = 30;

/**
 * The clients that a dead runner left paused: they are switched and resumed where the handover was decided, and given
 * back where it was not (HISTORIES 22). Each step of a driver is idempotent. A driver that fails does not keep the
 * database waiting; the journal and the log say what the operator has to do by hand.
 */
export async function settleTraffic(
  runner: Runner,
  left: Extract<State, { phase: 'handing-over' }>,
  decided: boolean,
): Promise<void> {
  const traffic = driverOf(runner.settings);
  const task: TrafficTask = {
    migration: runner.ctx.names.migration,
    attempt: left.attempt,
    kind: left.kind,
    from: left.serving,
    to: otherSide(left.serving),
    deadline: Date.now() / 1000 + LIMIT_SECONDS,
  };
  try {
    if (decided) {
      await traffic.switch(task);
      await traffic.resume(task);
    } else await traffic.undo(task);
  } catch (error) {
    const { code } = asFailure(error);
    runner.log.error(
      { code, driver: traffic.name, decided },
      'the clients could not be moved: do it by hand',
    );
    await runner.ctx.journal('traffic', { failed: true, code, driver: traffic.name, decided });
  }
}

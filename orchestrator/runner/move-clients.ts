import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { hasCode } from '../errors/failure.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import type { TrafficDriver, TrafficTask } from '../traffic/driver.ts';

/** For how long the steps of a driver are tried again before something else has to go on. */
const PATIENCE_MS = 10_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 2_000;
/** A step that hangs is ended by its driver then. */
const STEP_LIMIT_SECONDS = 30;

/** @returns when the steps of a handover whose outcome is known have to be done, in epoch seconds. */
export const stepDeadline = (): number => Date.now() / 1000 + STEP_LIMIT_SECONDS;

/**
 * Brings the clients to the side that serves now, and resumes them. A driver that fails is tried again for a while: an
 * instance that restarts in this moment must not leave the application outside. Given up, clients that were paused are
 * resumed all the same: the old side tells them that it refuses writes, and they wait for nobody.
 * @throws what the driver failed with the last time; the runner goes on trying (`Unmoved`). STALE_EPOCH when another
 *   runner has taken over meanwhile: where the clients belong is for that one to say.
 */
export async function moveClients(
  ctx: Pick<Context, 'log' | 'signal' | 'claim'>,
  green: ClientBase,
  traffic: TrafficDriver,
  task: TrafficTask,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const end = performance.now() + patienceMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      await traffic.switch(task);
      await traffic.resume(task);
      return;
    } catch (error) {
      const { code } = error as { code?: string };
      ctx.log.warn({ code, driver: traffic.name, side: task.to }, 'the clients could not be moved yet');
      if (performance.now() + pauseMs > end || ctx.signal.aborted) {
        await traffic.resume(task).catch(() => {});
        throw error;
      }
    }
    await delay(pauseMs, undefined, { signal: ctx.signal }).catch(() => {});
    await holdClaim(green, ctx.claim()).catch((error: unknown) => {
      if (hasCode(error, 'STALE_EPOCH')) throw error;
    });
  }
}

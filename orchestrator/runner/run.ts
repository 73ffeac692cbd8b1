import type { Settings } from '../config/settings.ts';
import { asFailure } from '../errors/as-failure.ts';
import { hasCode } from '../errors/failure.ts';
import type { Log } from '../log/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Ended } from '../phases/abort.ts';
import { finishEnding } from '../phases/ending.ts';
import { readState } from '../state/store.ts';
import { contextAlone } from './control.ts';
import { finalizedSide } from './ended.ts';
import { Runner } from './runner.ts';

export interface RunOptions {
  /** Wait for a free lease; otherwise LEASE_HELD (7). */
  readonly wait: boolean;
  readonly signal: AbortSignal;
  /** Told when the lease is held, and with what state. */
  readonly leading?: (runner: Runner) => Promise<void> | void;
}

/**
 * The long-lived runner. Ends with 0 when the migration is, or becomes, finalized or aborted.
 * @throws OrchestrateError with the exit code of DESIGN 10: 1 a stop, 3 preflight, 4 connections, 7 the lease, 130 or
 * 143 a signal.
 */
export async function run(
  settings: Settings,
  log: Log,
  metrics: Metrics,
  options: RunOptions,
): Promise<{ exit: number }> {
  if (await finalizedSide(settings)) {
    log.info({ phase: 'finalized' }, 'nothing left to do');
    return { exit: 0 };
  }
  const ended = await endUnfinished(settings, log);
  if (ended) return { exit: ended.exit };
  const runner = await Runner.open({
    settings,
    log,
    metrics,
    signal: options.signal,
    wait: options.wait,
    mayCopy: true,
  });
  try {
    await options.leading?.(runner);
    const exit = await runner.follow();
    const state = runner.controlGone
      ? null
      : await readState(runner.control.clients.green, settings.migration);
    log.info({ phase: state?.state.phase ?? 'ended' }, 'the migration has ended');
    return { exit };
  } catch (error) {
    throw asFailure(error);
  } finally {
    await runner.close();
  }
}

/** An abort or a finalize that died comes before everything else (I12), unless its own process is still at it. */
async function endUnfinished(settings: Settings, log: Log): Promise<Ended | null> {
  try {
    return await finishEnding(contextAlone(settings, log));
  } catch (error) {
    if (hasCode(error, 'LEASE_HELD')) return null;
    throw error;
  }
}

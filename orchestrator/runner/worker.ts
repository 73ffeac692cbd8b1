import type { Settings } from '../config/settings.ts';
import { asFailure } from '../errors/as-failure.ts';
import type { Log } from '../log/log.ts';
import { noMetrics } from '../metrics/metrics.ts';
import { endpointsOf } from '../pg/endpoints.ts';
import { copyGuard } from '../phases/copy-guard.ts';
import { type Worked, workPhase } from '../phases/work.ts';
import { readObservation } from '../state/observation.ts';
import { readSide } from '../state/store.ts';
import { openControl } from './control.ts';
import { finalizedSide } from './ended.ts';
import { leaseHolder } from './lease.ts';

/**
 * A helper of the runner's: copies chunks until none is left, then ends. It holds no lease and answers no request.
 * @throws OrchestrateError with the exit code of DESIGN 10.
 */
export async function work(settings: Settings, log: Log, signal: AbortSignal): Promise<Worked> {
  if (await finalizedSide(settings)) return { chunks: 0, rows: 0, bytes: 0 };
  const { migration, schemas, copyWorkers, maxCopyBytesPerSecond } = settings;
  const endpoints = endpointsOf(settings);
  const control = await openControl({ migration, schemas, endpoints, log, metrics: noMetrics, signal });
  const { ctx } = control;
  const guard = copyGuard(ctx, settings.copyPause);
  /** The claim is the leading runner's; without one there is nobody to help. */
  const follow = async (): Promise<string | undefined> => {
    const client = await control.green.connect();
    try {
      const side = await readSide(client, migration);
      if (side === null || (await leaseHolder(client, ctx.names)) === null) return 'a runner';
      if ((await readObservation(client, migration))?.paused) return 'orchestrate resume';
      control.setClaim({ epoch: side.epoch, generation: side.generation });
      return await guard();
    } finally {
      client.release();
    }
  };
  try {
    return await workPhase(ctx, {
      workers: copyWorkers,
      ...(maxCopyBytesPerSecond === null ? {} : { maxRateBytes: maxCopyBytesPerSecond }),
      follow,
    });
  } catch (error) {
    throw asFailure(error);
  } finally {
    await control.close();
  }
}

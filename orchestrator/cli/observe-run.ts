import type { ClientBase } from 'pg';
import type { Settings } from '../config/settings.ts';
import { hasCode } from '../errors/failure.ts';
import type { Log } from '../log/log.ts';
import { createMetrics, type RegistryMetrics } from '../metrics/registry.ts';
import { type MetricsServer, serveMetrics } from '../metrics/server.ts';
import { label } from '../pg/endpoint.ts';
import { endpointsOf } from '../pg/endpoints.ts';
import { readCounters } from '../state/counters.ts';
import { readiness } from './readiness.ts';
import { packageVersion } from './version.ts';

export interface ObservedRun {
  readonly metrics: RegistryMetrics;
  /** To be called when the lease is held: the counters go on where the runner before has left them. */
  leading(green: ClientBase): Promise<void>;
  close(): Promise<void>;
}

/**
 * The metrics of a runner and, unless it is off, their listener.
 * @throws OrchestrateError METRICS_LISTEN when an address that was asked for cannot be used. The default one is only
 * a convenience: a second runner on the same host goes without it.
 */
export async function observeRun(settings: Settings, log: Log): Promise<ObservedRun> {
  const metrics = createMetrics({ migration: settings.migration, version: packageVersion() });
  const endpoints = endpointsOf(settings);
  metrics.set(
    'migration_info',
    { blue: label(endpoints.blue), green: label(endpoints.green), traffic: settings.traffic.driver },
    1,
  );
  const probe = readiness(settings);
  let server: MetricsServer | undefined;
  if (settings.metricsListen !== null)
    try {
      server = await serveMetrics({
        listen: settings.metricsListen,
        metrics,
        // Answering at all is what shows that the loop makes progress: one thread does both.
        healthy: () => ({ ok: true, detail: 'alive' }),
        ready: probe.ready,
      });
      log.info({ host: server.host, port: server.port }, 'metrics are served');
    } catch (error) {
      if (settings.origins['metrics-listen'] !== 'default' || !hasCode(error, 'METRICS_LISTEN')) throw error;
      log.warn(
        { listen: '127.0.0.1:9187' },
        'the default metrics address is in use: no metrics from this runner',
      );
    }
  return {
    metrics,
    leading: async (green) => {
      metrics.restore(await readCounters(green));
      metrics.set('freeze_active', {}, 0);
    },
    close: async () => {
      await server?.stop();
      await probe.close();
    },
  };
}

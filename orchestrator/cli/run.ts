import type { Call, Command, Result } from './command.ts';
import { SUMMARIES } from './summaries.ts';

export const run: Command = {
  name: 'run',
  describe: SUMMARIES.run,
  flags: {
    'no-wait': { kind: 'boolean', describe: 'End with 7 at once when another runner holds the lease' },
  },
  options: [
    'source-schema',
    'org-schema',
    'environment',
    'freeze-budget',
    'max-lag',
    'max-sweep-age',
    'accept-parked',
    'sweep-interval',
    'max-sweep-rate',
    'copy-workers',
    'max-copy-rate',
    'copy-pause-age',
    'copy-pause-wal',
    'copy-pause-lag',
    'truncate',
    'compat-view',
    'metrics-listen',
    'traffic',
    'traffic-command',
    'pgbouncer-database',
    'pgbouncer-include',
    'kubernetes-service',
    'kubernetes-blue',
    'kubernetes-green',
    'kubernetes-config',
  ],
  examples: [
    ['$0 run', 'start or continue; a second one waits for the lease'],
    ['$0 run --metrics-listen 0.0.0.0:9187', 'in a pod'],
  ],
  acts: true,
  run: lead,
};

async function lead({ settings, flags, log, signal }: Call): Promise<Result> {
  const [runner, { observeRun }] = await Promise.all([
    import('../runner/run.ts'),
    import('./observe-run.ts'),
  ]);
  const observed = await observeRun(settings, log);
  try {
    const { exit } = await runner.run(settings, log, observed.metrics, {
      wait: flags['no-wait'] !== true,
      signal,
      leading: (held) => observed.leading(held.control.clients.green),
    });
    return { exit, document: { migration: settings.migration, outcome: 'done' } };
  } finally {
    await observed.close();
  }
}

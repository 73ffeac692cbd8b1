import type { Call, Command, Result } from './command.ts';
import { SUMMARIES } from './summaries.ts';

export const worker: Command = {
  name: 'worker',
  describe: SUMMARIES.worker,
  flags: {},
  options: [
    'source-schema',
    'org-schema',
    'copy-workers',
    'max-copy-rate',
    'copy-pause-age',
    'copy-pause-wal',
    'copy-pause-lag',
  ],
  examples: [['$0 worker --copy-workers 4', 'waits for orchestrate run to begin; ends with the copy']],
  acts: true,
  run: help,
};

async function help({ settings, log, signal }: Call): Promise<Result> {
  const { work } = await import('../runner/worker.ts');
  const worked = await work(settings, log, signal);
  return {
    exit: 0,
    document: { migration: settings.migration, outcome: 'done', ...worked },
    text: () => `No chunk is left; ${worked.chunks} of them (${worked.rows} rows) were copied here.`,
  };
}

import type { Call, Command, Result } from './command.ts';
import { wholeNumber } from './flag-values.ts';
import { SUMMARIES } from './summaries.ts';

export const plan: Command = {
  name: 'plan',
  describe: SUMMARIES.plan,
  flags: {
    sql: { kind: 'boolean', describe: 'With the SQL that the mapping derives' },
    'in-place': {
      kind: 'boolean',
      describe: 'What migrate up beside user_settings would take instead, from a sample that is rolled back',
    },
    side: {
      kind: 'text',
      choices: ['blue', 'green'],
      describe: 'With --in-place: which database; blue unless given',
    },
    'batch-size': { kind: 'text', describe: 'With --in-place: rows a transaction; 500 unless given' },
    'no-sample': { kind: 'boolean', describe: 'Connect to nothing, and leave the copy time open' },
  },
  options: [
    'source-schema',
    'org-schema',
    'copy-workers',
    'max-copy-rate',
    'freeze-budget',
    'traffic',
    'compat-view',
  ],
  examples: [
    ['$0 plan --sql', 'the select lists of copy, apply, verify and revert'],
    ['$0 plan --in-place', 'rows, sizes, time, maintenance window, and indexes worth adding'],
  ],
  acts: false,
  run: (call) => (call.flags['in-place'] === true ? showInPlace(call) : show(call)),
};

/** How long the sample of `--in-place` may take: long enough for many batches, short enough for a busy table. */
const SAMPLE_MS = 2_000;

async function showInPlace({ settings, flags }: Call): Promise<Result> {
  const batchSize = wholeNumber('batch-size', flags['batch-size'], 500);
  const [{ estimateInPlace }, { endpointOf }, { renderEstimate }] = await Promise.all([
    import('../phases/migrate/estimate.ts'),
    import('../pg/endpoints.ts'),
    import('./render/estimate.ts'),
  ]);
  const side = flags['side'] === 'green' ? 'green' : 'blue';
  const document = await estimateInPlace(endpointOf(settings, side), settings.schemas, {
    batchSize,
    sampleMs: SAMPLE_MS,
  });
  return { exit: 0, document, text: () => renderEstimate(document) };
}

async function show({ settings, flags, log, signal }: Call): Promise<Result> {
  const [{ forecast, planOf }, { renderPlan }] = await Promise.all([
    import('../runner/plan.ts'),
    import('./render/plan.ts'),
  ]);
  // Two seconds of the real copy, into tables that are rolled back.
  const sampled =
    flags['no-sample'] === true ? { unknown: 'not asked for' } : await forecast(settings, log, signal);
  const document = planOf(settings, flags['sql'] === true, sampled);
  return { exit: 0, document, text: () => renderPlan(document) };
}

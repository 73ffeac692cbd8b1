import type { Call, Command, Result } from './command.ts';

export const plan: Command = {
  name: 'plan',
  describe: 'What a run would create, move and remove, with these settings, and how long the copy takes',
  flags: {
    sql: { kind: 'boolean', describe: 'With the SQL that the mapping derives' },
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
  examples: [['$0 plan --sql', 'the select lists of copy, apply, verify and revert']],
  acts: false,
  run: show,
};

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

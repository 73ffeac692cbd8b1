import type { Call, Command, Result } from './command.ts';

export const plan: Command = {
  name: 'plan',
  describe: 'What a run would create, move and remove, with these settings; connects to nothing',
  flags: { sql: { kind: 'boolean', describe: 'With the SQL that the mapping derives' } },
  options: ['source-schema', 'org-schema', 'copy-workers', 'freeze-budget', 'traffic', 'compat-view'],
  examples: [['$0 plan --sql', 'the select lists of copy, apply, verify and revert']],
  acts: false,
  run: show,
};

async function show({ settings, flags }: Call): Promise<Result> {
  const [{ planOf }, { renderPlan }] = await Promise.all([
    import('../runner/plan.ts'),
    import('./render/plan.ts'),
  ]);
  const document = planOf(settings, flags['sql'] === true);
  return { exit: 0, document, text: () => renderPlan(document) };
}

import type { Call, Command, Result } from './command.ts';

export const migrate: Command = {
  name: 'migrate',
  describe: 'The schema migrations of the organisational model, without a run',
  action: { choices: ['up', 'down', 'status'], describe: 'Apply, take back, or list' },
  flags: {
    to: {
      kind: 'text',
      describe: 'Revision that remains applied: number or name; 055 is none of ours',
    },
    side: { kind: 'text', choices: ['blue', 'green'], describe: 'Which database; green unless given' },
  },
  options: ['source-schema', 'org-schema'],
  examples: [
    ['$0 migrate up --to 056', 'the tables'],
    ['$0 migrate down --to 055', 'take everything of ours back'],
  ],
  // One transaction: an interrupted one leaves nothing behind.
  acts: false,
  run: change,
};

async function change({ settings, flags, signal }: Call): Promise<Result> {
  signal.throwIfAborted();
  const { migrateSide } = await import('../phases/migrate.ts');
  const { endpointOf } = await import('../pg/endpoints.ts');
  const side = flags['side'] === 'blue' ? 'blue' : 'green';
  const document = await migrateSide(
    endpointOf(settings, side),
    settings.schemas,
    flags['action'] as 'up' | 'down' | 'status',
    flags['to'] as string | undefined,
  );
  const text = () => {
    const done = document.changed.map(
      (name) => `${document.action === 'up' ? 'applied' : 'taken back'}: ${name}`,
    );
    const all = document.migrations.map((m) => `${m.name}  ${m.applied_at ?? 'pending'}`);
    return [...done, ...(document.action === 'status' || done.length === 0 ? all : [])].join('\n');
  };
  return { exit: 0, document, text };
}

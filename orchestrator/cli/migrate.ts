import type { Call, Command, Result } from './command.ts';
import { confirm, YES } from './confirm.ts';
import { duration, wholeNumber } from './flag-values.ts';
import { SUMMARIES } from './summaries.ts';

export const migrate: Command = {
  name: 'migrate',
  describe: SUMMARIES.migrate,
  action: { choices: ['up', 'down', 'status'], describe: 'Apply, take back, or list' },
  flags: {
    to: {
      kind: 'text',
      describe: 'Revision that remains applied: number or name; 055 is none of ours',
    },
    side: { kind: 'text', choices: ['blue', 'green'], describe: 'Which database; green unless given' },
    'batch-size': {
      kind: 'text',
      describe: 'Rows a transaction when 057 moves rows in place; 500 unless given',
    },
    'pause-between-batches': {
      kind: 'text',
      describe: 'How long 057 in place rests after each batch, such as 50ms; not at all unless given',
    },
    ...YES,
  },
  options: ['source-schema', 'org-schema', 'backup-confirmed'],
  examples: [
    ['$0 migrate up --to 056', 'the tables'],
    ['$0 migrate up --side blue', 'in place, beside user_settings: tables, and the rows in batches'],
    ['$0 migrate down --side blue --to 055', 'take everything of ours back'],
  ],
  // Whatever was committed stays, the rest is rolled back, and the same command goes on: it may end at any moment.
  acts: false,
  run: change,
};

async function change(call: Call): Promise<Result> {
  const { settings, flags, signal, terminal } = call;
  signal.throwIfAborted();
  const options = {
    to: flags['to'] as string | undefined,
    batchSize: wholeNumber('batch-size', flags['batch-size'], 500),
    pauseMs: duration('pause-between-batches', flags['pause-between-batches'], 0),
    note: (line: string) => terminal.note(line),
    confirm: (about: readonly string[]) => confirm(call, about),
  };
  const [{ migrateSide }, { endpointOf }, { renderMigrate }] = await Promise.all([
    import('../phases/migrate.ts'),
    import('../pg/endpoints.ts'),
    import('./render/migrate.ts'),
  ]);
  const side = flags['side'] === 'blue' ? 'blue' : 'green';
  const action = flags['action'] as 'up' | 'down' | 'status';
  if (action !== 'status' && side === 'blue' && !settings.backupConfirmed)
    terminal.note('no backup is confirmed (--backup-confirmed): make one, and try to restore it');
  const document = await migrateSide(endpointOf(settings, side), settings.schemas, action, options);
  return { exit: 0, document, text: () => renderMigrate(document) };
}

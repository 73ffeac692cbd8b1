import type { Call, Command, Result } from './command.ts';
import { duration, wholeNumber } from './flag-values.ts';
import { SUMMARIES } from './summaries.ts';

export const rehearse: Command = {
  name: 'rehearse',
  describe: SUMMARIES.rehearse,
  flags: {
    embedded: { kind: 'boolean', describe: 'On two servers of its own (the default when no URLs are given)' },
    users: { kind: 'text', describe: 'Rows to begin with; 23000 unless given' },
    rate: { kind: 'text', describe: 'Writes offered per second; 200 unless given' },
    soak: {
      kind: 'text',
      describe: 'How long the application writes before and after each handover; 5s unless given',
    },
    seed: { kind: 'text', describe: 'The same seed makes the same rows; 1 unless given' },
    'old-app-on-green': {
      kind: 'boolean',
      describe: 'The old application goes on where green serves, through the compatibility view',
    },
    report: {
      kind: 'text',
      describe: 'Where the report is written; rehearsal-report unless given',
    },
  },
  options: ['environment', 'freeze-budget', 'copy-workers', 'compat-view', 'traffic'],
  examples: [
    ['$0 rehearse --embedded', 'a drill on this machine, with nothing set up'],
    ['$0 rehearse --old-app-on-green --traffic pgbouncer', 'the old application crosses it behind pgbouncer'],
  ],
  // It starts a pgbouncer of its own; where a real one is, is not its business.
  adapt: (given) =>
    given['traffic'] === 'pgbouncer'
      ? {
          'pgbouncer-consoles': 'postgres://rehearsal.invalid/pgbouncer',
          'pgbouncer-database': 'app',
          'pgbouncer-include': 'its own',
          ...given,
        }
      : given,
  acts: true,
  run: drill,
};

async function drill({ settings, flags, log, signal, terminal }: Call): Promise<Result> {
  const watched = terminal.stderrIsTerminal && !terminal.json;
  const [{ rehearse: perform }, { summaryOf }] = await Promise.all([
    import('../rehearsal/rehearse.ts'),
    import('../rehearsal/report-text.ts'),
  ]);
  const { exit, report } = await perform(
    settings,
    {
      embedded: flags['embedded'] === true,
      oldAppOnGreen: flags['old-app-on-green'] === true,
      users: wholeNumber('users', flags['users'], 23_000),
      rate: wholeNumber('rate', flags['rate'], 200),
      soakMs: duration('soak', flags['soak'], 5_000),
      seed: typeof flags['seed'] === 'string' ? flags['seed'] : '1',
      reportDirectory: typeof flags['report'] === 'string' ? flags['report'] : 'rehearsal-report',
      signal,
      note: (line) => terminal.note(line),
      live: watched ? showLive : undefined,
    },
    log,
  );
  return { exit, document: report, text: () => summaryOf(report) };
}

/** Writes the last line of the terminal anew; an empty one clears it. */
function showLive(line: string): void {
  process.stderr.write(`\r\u001b[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
}

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
    iterations: {
      kind: 'text',
      describe: 'How often the whole journey is made; 1 unless given. The first that fails ends it',
    },
    faults: {
      kind: 'text',
      choices: ['none', 'kill-runner', 'cut-connections'],
      describe: 'Done to the runner before each handover; none unless given',
    },
    'blue-app-url-file': {
      kind: 'text',
      describe: "File with the application's own URL of blue, where URLs of databases are given",
    },
    'green-app-url-file': { kind: 'text', describe: 'The same of green' },
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
    [
      '$0 rehearse --iterations 3 --blue-app-url-file b --green-app-url-file g',
      'on the databases of the URLs; both are left as they were',
    ],
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
  const [{ rehearse: perform }, { summaryOf }, { FAULTS }] = await Promise.all([
    import('../rehearsal/rehearse.ts'),
    import('../rehearsal/report-text.ts'),
    import('../rehearsal/fault.ts'),
  ]);
  const { exit, report } = await perform(
    settings,
    {
      embedded: flags['embedded'] === true,
      oldAppOnGreen: flags['old-app-on-green'] === true,
      users: wholeNumber('users', flags['users'], 23_000),
      rate: wholeNumber('rate', flags['rate'], 200),
      iterations: wholeNumber('iterations', flags['iterations'], 1),
      fault: FAULTS.find((fault) => fault === flags['faults']) ?? 'none',
      appUrlFiles: {
        ...fileOf('blue', flags['blue-app-url-file']),
        ...fileOf('green', flags['green-app-url-file']),
      },
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

const fileOf = (side: 'blue' | 'green', file: unknown): Partial<Record<'blue' | 'green', string>> =>
  typeof file === 'string' ? { [side]: file } : {};

/** Writes the last line of the terminal anew; an empty one clears it. */
function showLive(line: string): void {
  process.stderr.write(`\r\u001b[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
}

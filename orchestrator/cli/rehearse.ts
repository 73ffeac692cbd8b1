import { failure } from '../errors/failure.ts';
import type { Call, Command, Result } from './command.ts';

export const rehearse: Command = {
  name: 'rehearse',
  describe: 'The whole journey with a writing application: copy, sync, cutover, revert, cutover, finalize',
  flags: {
    embedded: { kind: 'boolean', describe: 'On two servers of its own (the default when no URLs are given)' },
    users: { kind: 'text', value: 'N', describe: 'Rows to begin with; 23000 unless given' },
    rate: { kind: 'text', value: 'N', describe: 'Writes offered per second; 200 unless given' },
    report: {
      kind: 'text',
      value: 'DIR',
      describe: 'Where the report is written; rehearsal-report unless given',
    },
  },
  options: ['environment', 'freeze-budget', 'copy-workers', 'compat-view'],
  examples: [['$0 rehearse --embedded', 'a drill on this machine, with nothing set up']],
  acts: true,
  run: drill,
};

async function drill({ settings, flags, log, signal, terminal }: Call): Promise<Result> {
  const options = {
    embedded: flags['embedded'] === true,
    users: wholeNumber('users', flags['users'], 23_000),
    rate: wholeNumber('rate', flags['rate'], 200),
    report: typeof flags['report'] === 'string' ? flags['report'] : 'rehearsal-report',
    signal,
    progress: terminal.stderrIsTerminal && !terminal.json,
  };
  const { rehearse: perform } = await import('../rehearsal/rehearse.ts');
  const { exit, report } = await perform(settings, options, log);
  return { exit, document: report };
}

function wholeNumber(name: string, value: unknown, otherwise: number): number {
  if (value === undefined) return otherwise;
  const text = String(value);
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw failure('CONFIG_INVALID', {
      message: `--${name} cannot be used`,
      expected: 'a whole number from 1 up',
      found: JSON.stringify(text.slice(0, 40)),
    });
  return Number(text);
}

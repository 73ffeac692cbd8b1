import type { OrchestrateError } from '../errors/failure.ts';
import { failure } from '../errors/failure.ts';
import type { JournalEntry } from '../state/documents.ts';
import type { Call, Command, Result } from './command.ts';
import { SUMMARIES } from './summaries.ts';

export const events: Command = {
  name: 'events',
  describe: SUMMARIES.events,
  flags: {
    follow: { kind: 'boolean', describe: 'Go on with what comes, until interrupted' },
    after: { kind: 'text', describe: 'Only entries after this one' },
  },
  options: [],
  examples: [['$0 events --follow --json', 'one object a line']],
  acts: false,
  run: tell,
};

async function tell({ settings, flags, terminal, signal }: Call): Promise<Result> {
  const { readEvents } = await import('../runner/events.ts');
  const follow = flags['follow'] === true;
  const ending = AbortSignal.any([signal, terminal.unread]);
  const kept: JournalEntry[] = [];
  for await (const entry of readEvents(settings, { after: afterOf(flags), follow, signal: ending })) {
    if (terminal.json && !follow) kept.push(entry);
    else terminal.line(terminal.json ? entry : lineOf(entry));
  }
  const exit = signal.aborted ? (signal.reason as OrchestrateError).entry.exit : 0;
  return { exit, document: follow ? null : { events: kept } };
}

function afterOf(flags: Call['flags']): bigint {
  const given = flags['after'] ?? '0';
  const text = typeof given === 'string' ? given : 'more than one value';
  if (!/^\d{1,18}$/.test(text))
    throw failure('CONFIG_INVALID', {
      message: '--after cannot be used',
      expected: 'the id of a journal entry, a whole number',
      found: JSON.stringify(text.slice(0, 40)),
    });
  return BigInt(text);
}

function lineOf(entry: JournalEntry): string {
  const facts = Object.entries(entry.detail).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return [entry.id.padStart(5), entry.at, `generation ${entry.generation}`, entry.event, ...facts].join('  ');
}

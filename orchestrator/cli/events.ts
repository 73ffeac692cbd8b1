import type { OrchestrateError } from '../errors/failure.ts';
import { failure } from '../errors/failure.ts';
import { factsOf } from '../log/facts.ts';
import type { JournalEntry } from '../state/documents.ts';
import type { Call, Command, Result } from './command.ts';
import type { ChainReport } from './documents.ts';
import { SUMMARIES } from './summaries.ts';

export const events: Command = {
  name: 'events',
  describe: SUMMARIES.events,
  flags: {
    follow: { kind: 'boolean', describe: 'Go on with what comes, until interrupted' },
    after: { kind: 'text', describe: 'Only entries after this one' },
    verify: {
      kind: 'boolean',
      describe: 'Instead of telling it: check that nobody has changed it since it was written; 3 if so',
    },
  },
  options: [],
  examples: [
    ['$0 events --follow --json', 'one object a line'],
    ['$0 events --verify', 'every entry against its link in the chain of hashes; note the head elsewhere'],
  ],
  acts: false,
  run: (call) => (call.flags['verify'] === true ? check(call) : tell(call)),
};

async function check({ settings, flags }: Call): Promise<Result> {
  if (flags['follow'] === true || flags['after'] !== undefined)
    throw failure('CONFIG_INVALID', {
      message: '--verify checks the whole journal, once',
      expected: 'neither --follow nor --after',
      found: 'one of them',
    });
  const [{ checkJournal }, { renderChain }] = await Promise.all([
    import('../runner/events.ts'),
    import('./render/chain.ts'),
  ]);
  const chain = await checkJournal(settings);
  const document: ChainReport = chain.intact
    ? chain
    : {
        ...chain,
        error: failure('JOURNAL_CHANGED', {
          expected: 'every entry as it was written',
          found: `${chain.problems.length + chain.more} places where it is not`,
        }).toDocument(),
      };
  return { exit: chain.intact ? 0 : 3, document, text: () => renderChain(chain) };
}

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

function lineOf({ id, at, generation, event, detail }: JournalEntry): string {
  const when = new Date(at).toISOString();
  return `${id.padStart(5)}  ${when}  generation ${generation}  ${[event, ...factsOf(detail)].join(' ')}`;
}

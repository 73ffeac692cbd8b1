import { setTimeout as delay } from 'node:timers/promises';
import type { OrchestrateError } from '../errors/failure.ts';
import type { StatusDocument } from '../state/documents.ts';
import type { Call, Command, Result } from './command.ts';
import { SUMMARIES } from './summaries.ts';

const EVERY_MS = 2_000;

export const status: Command = {
  name: 'status',
  describe: SUMMARIES.status,
  flags: { watch: { kind: 'boolean', describe: 'Again every two seconds, until interrupted' } },
  options: ['source-schema', 'org-schema', 'freeze-budget', 'max-lag', 'max-sweep-age', 'accept-parked'],
  examples: [
    ['$0 status --watch', 'follow it on a terminal'],
    ['$0 status --json', 'one document'],
  ],
  acts: false,
  run: (call) => (call.flags['watch'] === true ? watch(call) : once(call)),
};

async function once({ settings, terminal }: Call): Promise<Result> {
  const [{ readStatus }, { renderStatus }] = await Promise.all([
    import('../runner/status.ts'),
    import('./render/status.ts'),
  ]);
  const document = await readStatus(settings);
  const view = { style: terminal.out, columns: terminal.columns, now: new Date() };
  return { exit: exitOf(document), document, text: () => renderStatus(document, view) };
}

/** What is known is told; that a side was silent is told by the exit code too. */
function exitOf(document: StatusDocument): number {
  return document.unreachable.length > 0 ? 4 : 0;
}

async function watch({ settings, terminal, signal }: Call): Promise<Result> {
  const [{ readStatus }, { renderStatus }] = await Promise.all([
    import('../runner/status.ts'),
    import('./render/status.ts'),
  ]);
  const ending = AbortSignal.any([signal, terminal.unread]);
  while (!ending.aborted) {
    const document = await readStatus(settings);
    const view = { style: terminal.out, columns: terminal.columns, now: new Date() };
    if (terminal.json) terminal.line(document);
    else terminal.redraw(renderStatus(document, view));
    await delay(EVERY_MS, undefined, { signal: ending }).catch(() => {});
  }
  return { exit: signal.aborted ? (signal.reason as OrchestrateError).entry.exit : 0, document: null };
}

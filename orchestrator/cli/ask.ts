import type { JournalEntry } from '../state/documents.ts';
import type { Request } from '../state/request.ts';
import type { Call } from './command.ts';

/** Writes a request for the runner and follows it to its end; see `runner/remote.ts`. */
export async function ask<Document extends object>(
  { settings, log, signal }: Call,
  request: Request,
  onEvent: (entry: JournalEntry) => void = () => {},
): Promise<{ exit: number; document: Document }> {
  const remote = await import('../runner/remote.ts');
  const { exit, document } = await remote.request(settings, log, request, { signal, onEvent });
  return { exit, document: document as Document };
}

/** `{ reason }` when `--reason` was given, for the journal. */
export function reasonOf({ settings }: Call): { reason?: string } {
  return settings.reason === null ? {} : { reason: settings.reason };
}

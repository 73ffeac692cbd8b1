import type { EndDocument } from '../state/documents.ts';
import type { Request } from '../state/request.ts';
import { ask } from './ask.ts';
import type { Call, Result } from './command.ts';

/** `abort` and `finalize`: asks, and says what is left. */
export async function end(call: Call, request: Request): Promise<Result> {
  const { renderEnd } = await import('./render/ending.ts');
  const { exit, document } = await ask<EndDocument>(call, request);
  return { exit, document, text: () => ('outcome' in document ? renderEnd(document, request.command) : '') };
}

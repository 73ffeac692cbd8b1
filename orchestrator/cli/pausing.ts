import type { PauseDocument } from '../state/documents.ts';
import { ask, reasonOf } from './ask.ts';
import type { Call, Result } from './command.ts';

/** `pause` and `resume`: copy and sweeps only, never sync. */
export async function setPaused(call: Call, command: 'pause' | 'resume'): Promise<Result> {
  const { exit, document } = await ask<PauseDocument>(call, { command, options: reasonOf(call) });
  const text = () =>
    'paused' in document
      ? document.paused
        ? 'Copy and sweeps are paused; sync goes on. Next: orchestrate resume'
        : 'Copy and sweeps go on.'
      : '';
  return { exit, document, text };
}

import { failure } from '../errors/failure.ts';
import type { Context } from '../state/context.ts';
import type { Sink } from './sink.ts';

export interface ForwardOptions {
  /**
   * `catch-up`: after the copy and before the recompute pass; every row with a key is mapped, duplicates included, and
   * a value that is missing is re-read from blue. `syncing`: exact, with the sticky choice of who is mapped.
   */
  readonly mode: 'catch-up' | 'syncing';
  /** What a TRUNCATE of `user_settings` does: delete the rows we own, or stop. */
  readonly truncate?: 'apply' | 'refuse';
}

/** @returns the sink of the forward stream: changes of `user_settings` become rows of the org model on green. */
export function forwardSink(_ctx: Context, _options: ForwardOptions): Sink {
  throw failure('INTERNAL', { message: 'not written yet' });
}

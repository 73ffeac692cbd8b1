import type { StreamSession } from './session.ts';

/** Work that waits for the moment between two batches. */
export interface Task {
  /** Never rejects: what goes wrong is told to whoever asked for it. */
  readonly run: (session: StreamSession) => Promise<void>;
  /** The stream has ended before its turn came. */
  readonly reject: (error: unknown) => void;
}

import { failure } from '../errors/failure.ts';
import { formatLsn, type Lsn } from '../pg/lsn.ts';
import type { Signal } from './signal.ts';
import type { Task } from './task.ts';

/** How long a transaction waits while somebody looks for a position to cut at. */
const HOLD_BACK_MS = 150;

/** The position the stream is to pause at, once: everything before it is applied then, and nothing from it on. */
export class Cut {
  readonly #signal: Signal;
  #planned: { readonly lsn: Lsn; readonly task: Task } | undefined;
  #holdingBack = 0;

  /** @param signal raised when what it says has changed. */
  constructor(signal: Signal) {
    this.#signal = signal;
  }

  get lsn(): Lsn | undefined {
    return this.#planned?.lsn;
  }

  /** Transactions that arrived later wait (`performance.now()`). */
  get arrivedBefore(): number | undefined {
    return this.#holdingBack > 0 ? performance.now() - HOLD_BACK_MS : undefined;
  }

  /** While `work` runs, transactions wait a little before they are applied. */
  async holdBack<T>(work: () => Promise<T>): Promise<T> {
    this.#holdingBack += 1;
    try {
      return await work();
    } finally {
      this.#holdingBack -= 1;
      this.#signal.raise();
    }
  }

  /**
   * @param taken where the latest transaction starts that was taken from the stream.
   * @returns what `paused` returns, once the stream has come there.
   * @throws OrchestrateError CUT_MISSED (transient) when a later transaction is already applied.
   */
  plan<T>(lsn: Lsn, taken: Lsn, paused: () => Promise<T>): Promise<T> {
    if (this.#planned !== undefined)
      return Promise.reject(failure('INTERNAL', { message: 'the stream is already to be cut elsewhere' }));
    if (taken >= lsn)
      return Promise.reject(
        failure('CUT_MISSED', { expected: `nothing at or after ${formatLsn(lsn)}`, found: formatLsn(taken) }),
      );
    return new Promise<T>((resolve, reject) => {
      const run = async (): Promise<void> => {
        await paused().then(resolve, reject);
      };
      this.#planned = { lsn, task: { run, reject } };
      this.#signal.raise();
    });
  }

  /** @returns what is to be done here; it is not planned any more. */
  take(): Task | undefined {
    const task = this.#planned?.task;
    this.#planned = undefined;
    return task;
  }

  /** A session begins, and everything before `stored` is applied. */
  resume(stored: Lsn): void {
    if (this.#planned === undefined || stored <= this.#planned.lsn) return;
    this.take()?.reject(failure('CUT_MISSED', { found: formatLsn(stored) }));
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import { failure } from '../errors/failure.ts';

/** What ends a rehearsal early: a signal, or the death of the program that is rehearsed. The first reason holds. */
export class Stop {
  readonly #controller = new AbortController();

  constructor(signal: AbortSignal) {
    const stop = (): void => this.#controller.abort(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  now(reason: Error): void {
    this.#controller.abort(reason);
  }

  /** @returns what `work` gives, unless the rehearsal is stopped first. */
  async guard<T>(work: Promise<T>): Promise<T> {
    const { signal } = this;
    // Whoever loses the race may still fail, when what it stands on is taken away.
    work.catch(() => undefined);
    signal.throwIfAborted();
    let stop: () => void = () => undefined;
    const stopped = new Promise<never>((_, reject) => {
      stop = () => reject(signal.reason as Error);
      signal.addEventListener('abort', stop, { once: true });
    });
    try {
      return await Promise.race([work, stopped]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /** Lets time pass: a soak, not a way to wait for something. */
  async pass(ms: number): Promise<void> {
    this.signal.throwIfAborted();
    try {
      await delay(ms, undefined, { signal: this.signal });
    } catch {
      throw this.signal.reason as Error;
    }
  }

  /**
   * Waits until `condition` gives something other than undefined or false.
   * @throws OrchestrateError TIMED_OUT that names `what` and what was seen last.
   */
  async until<T>(
    what: string,
    timeoutMs: number,
    condition: () => Promise<T | undefined | false>,
    seen: () => string = () => 'nothing yet',
  ): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const result = await this.guard(condition());
      if (result !== undefined && result !== false) return result;
      if (performance.now() > deadline)
        throw failure('TIMED_OUT', {
          message: `${what} did not come within ${timeoutMs / 1_000} s`,
          expected: what,
          found: seen(),
          // The rehearsal's own runner is gone by the time this is read.
          fix: 'mend what was found, then rehearse again',
        });
      await this.pass(100);
    }
  }
}

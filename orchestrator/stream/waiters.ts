import type { Lsn } from '../pg/lsn.ts';

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** One of our logical messages, in a transaction that was taken from the stream. */
export interface Carried {
  readonly content: string;
  /** End of the transaction that carries it. */
  readonly endLsn: Lsn;
}

/** Who waits for what to be durable on the destination. */
export class Waiters {
  readonly #messages = new Map<string, Set<Waiter<Lsn>>>();
  readonly #positions = new Map<Waiter<void>, Lsn>();

  message(content: string, signal: AbortSignal): Promise<Lsn> {
    const waiting = this.#messages.get(content) ?? new Set();
    this.#messages.set(content, waiting);
    return enrol<Lsn>(
      signal,
      (waiter) => {
        waiting.add(waiter);
      },
      (waiter) => {
        waiting.delete(waiter);
        if (waiting.size === 0 && this.#messages.get(content) === waiting) this.#messages.delete(content);
      },
    );
  }

  position(lsn: Lsn, signal: AbortSignal): Promise<void> {
    return enrol<void>(
      signal,
      (waiter) => {
        this.#positions.set(waiter, lsn);
      },
      (waiter) => {
        this.#positions.delete(waiter);
      },
    );
  }

  /** The highest position somebody waits for. */
  get awaited(): Lsn | undefined {
    let highest: Lsn | undefined;
    for (const lsn of this.#positions.values()) if (highest === undefined || lsn > highest) highest = lsn;
    return highest;
  }

  /** Everything before `lsn` is durable, and with it these messages. */
  durable(lsn: Lsn, carried: readonly Carried[]): void {
    for (const { content, endLsn } of carried)
      for (const waiter of this.#messages.get(content) ?? []) waiter.resolve(endLsn);
    for (const [waiter, wanted] of this.#positions) if (wanted <= lsn) waiter.resolve();
  }

  /** Nothing more will come. */
  end(error: unknown): void {
    for (const waiting of this.#messages.values()) for (const waiter of waiting) waiter.reject(error);
    for (const waiter of this.#positions.keys()) waiter.reject(error);
  }
}

function enrol<T>(
  signal: AbortSignal,
  join: (waiter: Waiter<T>) => void,
  leave: (waiter: Waiter<T>) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const aborted = (): void => {
      done();
      reject(signal.reason as Error);
    };
    const waiter: Waiter<T> = {
      resolve: (value) => {
        done();
        resolve(value);
      },
      reject: (error) => {
        done();
        reject(error as Error);
      },
    };
    const done = (): void => {
      leave(waiter);
      signal.removeEventListener('abort', aborted);
    };
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    join(waiter);
    signal.addEventListener('abort', aborted, { once: true });
  });
}

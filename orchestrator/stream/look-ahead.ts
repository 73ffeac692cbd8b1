import { setImmediate as turn } from 'node:timers/promises';
import type { Change } from './change.ts';
import type { Sink } from './sink.ts';
import type { Queued, Tail } from './tail.ts';

/** Messages that are decoded before the event loop gets its turn: what the destination says is not to wait long. */
const STEP = 200;

export interface Bounds {
  readonly changes: number;
  readonly bytes: number;
}

/**
 * Decodes and prepares the next batch while the destination is busy with the last one. It takes nothing: whether and
 * how those changes are applied is decided when their turn comes, and what was prepared for other changes is thrown
 * away then.
 */
export class LookAhead {
  readonly #tail: Pick<Tail, 'position' | 'ahead'>;
  readonly #sink: Pick<Sink, 'prepare'>;
  readonly #bounds: Bounds;
  #changes: Change[] = [];
  /** Where in the tail the next message to look at is. */
  #next = 0;
  #bytes = 0;
  #ended = false;
  #prepared: unknown;

  constructor(tail: Pick<Tail, 'position' | 'ahead'>, sink: Pick<Sink, 'prepare'>, bounds: Bounds) {
    this.#tail = tail;
    this.#sink = sink;
    this.#bounds = bounds;
  }

  /** Waits for `work`, and uses the time. @returns what it resolves with. @throws what it rejects with. */
  async during<T>(work: Promise<T>): Promise<T> {
    let busy = true;
    const done = (): void => {
      busy = false;
    };
    work.then(done, done);
    await turn();
    while (busy && this.#step()) await turn();
    return work;
  }

  /** @returns what was prepared for exactly these changes; otherwise undefined. What was looked at is forgotten. */
  take(changes: readonly Change[]): unknown {
    const prepared =
      this.#ended &&
      this.#changes.length === changes.length &&
      this.#changes.every((change, i) => change === changes[i])
        ? this.#prepared
        : undefined;
    this.#changes = [];
    this.#next = 0;
    this.#bytes = 0;
    this.#ended = false;
    this.#prepared = undefined;
    return prepared;
  }

  /** @returns false when there is nothing more to do. */
  #step(): boolean {
    if (this.#ended || this.#sink.prepare === undefined) return false;
    this.#next = Math.max(this.#next, this.#tail.position);
    try {
      for (let n = 0; n < STEP && !this.#ended; n++) {
        const next = this.#tail.ahead(this.#next);
        if (next === undefined) return false;
        this.#next += 1;
        this.#look(next.message, next.size);
      }
    } catch {
      // What is wrong with a message is told when its turn comes.
      this.#ended = true;
    }
    return !this.#ended;
  }

  #look(message: Queued | undefined, size: number): void {
    switch (message?.kind) {
      case 'insert':
      case 'update':
      case 'delete':
        if (size > this.#bounds.bytes) {
          // One such row at a time is enough.
          this.#ended = true;
          return;
        }
        this.#changes.push(message);
        this.#bytes += size;
        if (this.#changes.length < this.#bounds.changes && this.#bytes < this.#bounds.bytes) return;
        this.#ended = true;
        this.#prepared = this.#sink.prepare?.(this.#changes);
        return;
      case 'relation':
      case 'truncate':
        // What comes after it may mean something else: it waits for its turn.
        this.#ended = true;
        return;
      default:
    }
  }
}

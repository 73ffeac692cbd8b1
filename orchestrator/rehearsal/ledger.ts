import { closeSync, createReadStream, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Side } from '../pg/side.ts';
import type { LedgerEvent, SentEvent } from './ledger/event.ts';

type Unstamped<T> = T extends LedgerEvent ? Omit<T, 'seq' | 'mono' | 'wall'> : never;

/**
 * The clients' own record of what they asked for and what they were promised: the witness for I2.
 *
 * An append-only file, one event a line, written synchronously before a statement leaves and after its answer came:
 * whatever dies afterwards, what was acknowledged is on file, and what is not on file was never acknowledged.
 */
export class Ledger {
  readonly path: string;
  readonly #file: number;
  #seq = 0;

  /** @param path the file; an existing one is continued, its sequence numbers too when `seq` is given. */
  constructor(path: string, seq = 0) {
    this.path = path;
    this.#seq = seq;
    this.#file = openSync(path, 'a');
  }

  sent(event: Omit<Unstamped<SentEvent>, 'event'>): void {
    this.#append({ event: 'sent', ...event });
  }

  acknowledged(op: string, side: Side, user?: number): void {
    this.#append({ event: 'acknowledged', op, side, ...(user === undefined ? {} : { user }) });
  }

  failed(op: string, side: Side, code: string): void {
    this.#append({ event: 'failed', op, side, code });
  }

  unknown(op: string, side: Side, code: string): void {
    this.#append({ event: 'unknown', op, side, code });
  }

  /** Marks a moment, so that a window (a handover, a soak) can be cut out afterwards. */
  mark(name: string): void {
    this.#append({ event: 'mark', name });
  }

  close(): void {
    closeSync(this.#file);
  }

  #append(event: Unstamped<LedgerEvent>): void {
    this.#seq += 1;
    const stamped = {
      seq: this.#seq,
      // Since boot, not since the process began: several processes may write one rehearsal's ledger in turn.
      mono: Number(process.hrtime.bigint() / 1_000n) / 1_000,
      wall: Date.now(),
      ...event,
    };
    writeSync(this.#file, `${JSON.stringify(stamped)}\n`);
  }
}

/**
 * Reads a ledger in the order in which it was written.
 * A last line without its newline was being written when the client died: nothing was promised by it.
 */
export async function* readLedger(path: string): AsyncGenerator<LedgerEvent> {
  const lines = createInterface({
    input: createReadStream(path, 'utf8'),
    crlfDelay: Number.POSITIVE_INFINITY,
  });
  let pending: string | undefined;
  for await (const line of lines) {
    if (pending !== undefined) yield JSON.parse(pending) as LedgerEvent;
    pending = line;
  }
  if (pending === undefined) return;
  let last: LedgerEvent;
  try {
    last = JSON.parse(pending) as LedgerEvent;
  } catch {
    return;
  }
  yield last;
}

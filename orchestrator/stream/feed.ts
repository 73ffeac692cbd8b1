import type { Lsn } from '../pg/lsn.ts';
import type { Delta } from '../verify/delta.ts';
import type { Change } from './change.ts';
import type { Counts, Tally } from './counts.ts';
import { Delivery } from './delivery.ts';
import { LookAhead } from './look-ahead.ts';
import type { Begin } from './protocol.ts';
import type { StreamSession } from './session.ts';
import type { Signal } from './signal.ts';
import type { Sink } from './sink.ts';
import type { Carried } from './waiters.ts';

/** Bytes of changes after which a part of a large transaction is applied; bounds what one statement carries. */
const FLUSH_BYTES = 1024 * 1024;

export interface FeedOptions {
  readonly maxChanges: number;
  /** No transaction whose commit record starts at or after it is taken. Asked for each: a cut may be named meanwhile. */
  cut(): Lsn | undefined;
  /** No transaction that arrived later is taken (`performance.now()`). */
  arrivedBefore(): number | undefined;
  readonly messagePrefix: string;
  stopping(): boolean;
  /** Somebody waits for the end of this batch. */
  interrupted(): boolean;
  taken(begin: Begin): void;
  committing(endLsn: Lsn, carried: readonly Carried[]): void;
}

export type FeedOutcome =
  /** One destination transaction is committed; everything before `endLsn` is durable. */
  | { readonly kind: 'applied'; readonly endLsn: Lsn; readonly carried: readonly Carried[] }
  /** The next transaction starts at or after the cut; everything before it is durable. */
  | { readonly kind: 'cut' }
  /** The next transaction is held back for so long. */
  | { readonly kind: 'later'; readonly waitMs: number }
  /** Nothing is there. */
  | { readonly kind: 'empty' }
  | { readonly kind: 'stopped' };

/**
 * Takes whole transactions from the tail and writes them into one destination transaction: as many as are there, up
 * to a bound. A transaction larger than the bound is applied in parts inside one destination transaction, so memory
 * stays bounded and the destination never shows half of it.
 */
export class Feed {
  readonly #session: StreamSession;
  readonly #sink: Sink;
  readonly #delta: Delta;
  readonly #signal: Signal;
  readonly #counts: Counts;
  #reached: Lsn | undefined;
  #ahead: { readonly changes: number; readonly look: LookAhead } | undefined;

  constructor(session: StreamSession, sink: Sink, delta: Delta, signal: Signal, counts: Counts) {
    this.#session = session;
    this.#sink = sink;
    this.#delta = delta;
    this.#signal = signal;
    this.#counts = counts;
  }

  /** Everything before it was sent and taken; only once `next` says so is it applied. */
  get reached(): Lsn | undefined {
    return this.#reached;
  }

  /** One for as long as the bounds are the same: what it looked at belongs to the next call. */
  #lookAhead(changes: number): LookAhead {
    if (this.#ahead?.changes !== changes)
      this.#ahead = {
        changes,
        look: new LookAhead(this.#session.tail, this.#sink, { changes, bytes: FLUSH_BYTES }),
      };
    return this.#ahead.look;
  }

  /** Applies the next batch. @throws whatever broke the stream or the destination's transaction. */
  async next(options: FeedOptions): Promise<FeedOutcome> {
    const { tail } = this.#session;
    const delivery = new Delivery(this.#session, this.#sink, this.#delta);
    const started = performance.now();
    const tallies: Tally[] = [];
    const carried: Carried[] = [];
    let contents: string[] = [];
    let changes: Change[] = [];
    let bytes = 0;
    let count = 0;
    let size = 0;
    let inTransaction = false;
    let skipping = false;
    let endLsn: Lsn | undefined;

    // One by one means one destination transaction for each.
    const parts = options.maxChanges === 1 ? 1 : (this.#sink.batchesPerCommit ?? 1);
    const ahead = this.#lookAhead(options.maxChanges);
    const flush = async (): Promise<void> => {
      if (changes.length === 0) return;
      const part = changes;
      changes = [];
      bytes = 0;
      tallies.push(this.#counts.received(part));
      await ahead.during(delivery.apply(part, ahead.take(part)));
    };

    for (;;) {
      const message = tail.peek();
      if (message === undefined) {
        if (!inTransaction && endLsn !== undefined) break;
        if (tail.error !== undefined) throw tail.error;
        if (!inTransaction) return { kind: 'empty' };
        // The rest of this transaction is on its way. Its part here is undone when the session closes.
        if (options.stopping()) return { kind: 'stopped' };
        await this.#signal.sleep(1_000);
        continue;
      }
      if (message.kind === 'begin') {
        const full = count >= parts * options.maxChanges || size >= parts * FLUSH_BYTES;
        if (full || (endLsn !== undefined && (options.interrupted() || options.stopping()))) break;
        // Exactly the transactions whose commit record starts before the point are in its snapshot (DESIGN 6).
        const before = options.cut();
        const cut = before !== undefined && message.finalLsn >= before;
        const arrivedBefore = options.arrivedBefore();
        const late = arrivedBefore === undefined ? 0 : tail.peekArrival() - arrivedBefore;
        if (cut || late > 0) {
          if (endLsn !== undefined) break;
          return cut ? { kind: 'cut' } : { kind: 'later', waitMs: late };
        }
      }
      const taken = tail.take();
      switch (message.kind) {
        case 'begin':
          inTransaction = true;
          // Applied before: after a crash whole transactions are sent again (FIELD-NOTES A, "Feedback").
          skipping = message.finalLsn < this.#session.stored.lsn;
          contents = [];
          if (!skipping) {
            delivery.xids.push(message.xid);
            options.taken(message);
          }
          break;
        case 'commit':
          inTransaction = false;
          if (!skipping) {
            endLsn = message.endLsn;
            for (const content of contents) carried.push({ content, endLsn });
          }
          break;
        case 'relation':
          this.#sink.relation(message.relation);
          break;
        case 'message':
          if (message.transactional && inTransaction && message.prefix === options.messagePrefix)
            contents.push(message.content);
          break;
        case 'keepalive':
          this.#reached = message.lsn;
          // It comes between transactions, so the position can be stored with the rows before it.
          if (endLsn !== undefined && message.lsn > endLsn) endLsn = message.lsn;
          break;
        default:
          if (skipping) break;
          changes.push(message);
          count += 1;
          bytes += taken;
          size += taken;
          if (changes.length >= options.maxChanges || bytes >= FLUSH_BYTES) {
            await flush();
            if (inTransaction && options.stopping()) return { kind: 'stopped' };
          }
      }
    }
    await flush();
    if (endLsn === undefined) return { kind: 'empty' };
    options.committing(endLsn, carried);
    await ahead.during(delivery.commit(endLsn));
    this.#counts.applied(delivery.xids.length, tallies, (performance.now() - started) / 1_000);
    return { kind: 'applied', endLsn, carried };
  }
}

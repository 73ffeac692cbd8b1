import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import type { Lsn } from '../pg/lsn.ts';
import { commit } from '../pg/transaction.ts';
import type { Delta } from '../verify/delta.ts';
import type { Change } from './change.ts';
import { beginAt, storeProgress } from './progress.ts';
import type { StreamSession } from './session.ts';
import type { Sink, SinkTransaction } from './sink.ts';

/**
 * One transaction on the destination: the rows of one or more whole source transactions and the end of the last one,
 * together (DESIGN 5.4). It begins with the first write.
 */
export class Delivery implements SinkTransaction {
  readonly client: pg.Client;
  readonly touched = new Set<number>();
  readonly xids: number[] = [];
  readonly #session: StreamSession;
  readonly #sink: Sink;
  readonly #delta: Delta;
  #begun = false;

  constructor(session: StreamSession, sink: Sink, delta: Delta) {
    this.client = session.destination;
    this.#session = session;
    this.#sink = sink;
    this.#delta = delta;
  }

  source(): Promise<pg.Client> {
    return this.#session.source();
  }

  get begun(): boolean {
    return this.#begun;
  }

  /** Writes some consecutive changes. */
  async apply(changes: readonly Change[], prepared: unknown): Promise<void> {
    await this.#begin();
    await this.#sink.apply(this, { changes, xids: this.xids, prepared });
    this.#note();
  }

  /** Stores `end` and commits. When this rejects the outcome may be unknown. */
  async commit(end: Lsn): Promise<void> {
    await this.#begin();
    await this.#sink.finish(this, this.xids);
    this.#note();
    await storeProgress(this.client, this.#session.direction, this.#session.stored, end);
    await failpoint('apply.before');
    await commit(this.client);
    this.#session.stored = { ...this.#session.stored, lsn: end };
    await failpoint('apply.after');
  }

  async #begin(): Promise<void> {
    if (this.#begun) return;
    await beginAt(this.client, this.#session.ctx, this.#session.direction, this.#session.stored);
    this.#begun = true;
    this.#sink.begin();
  }

  /** Touched ids enter the delta before the commit: of a commit with an unknown outcome they are in it, too. */
  #note(): void {
    this.#delta.add(this.touched);
    this.touched.clear();
  }
}

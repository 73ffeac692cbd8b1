import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import { failure, type OrchestrateError } from '../errors/failure.ts';
import { formatLsn, type Lsn } from '../pg/lsn.ts';
import type { Direction } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { Delta } from '../verify/delta.ts';
import type { ApplierOptions, ApplierStatus } from './applier-status.ts';
import { Counts } from './counts.ts';
import { Cut } from './cut.ts';
import { Feed } from './feed.ts';
import { LagWatch } from './lag-watch.ts';
import { Patience } from './patience.ts';
import { type Backend, exclusively, storeProgress } from './progress.ts';
import { StreamSession } from './session.ts';
import { Signal } from './signal.ts';
import type { Sink } from './sink.ts';
import { judgeFailure, reasonOf } from './stream-failure.ts';
import type { Task } from './task.ts';
import { type Carried, Waiters } from './waiters.ts';

export type { ApplierOptions, ApplierStatus } from './applier-status.ts';

const MAX_CHANGES = 2_000;
const MAX_QUEUE_BYTES = 2 * 1024 * 1024;
/** How often an idle stream stores where it is, so that the source can forget its WAL. */
const IDLE_STORE_MS = 3_000;

/** One direction's stream: reads the source's slot, applies whole transactions, stores the position, acknowledges. */
export class Applier {
  readonly delta: Delta;
  readonly #ctx: Context;
  readonly #direction: Direction;
  readonly #sink: Sink;
  readonly #maxChanges: number;
  readonly #maxQueueBytes: number;
  readonly #signal = new Signal();
  readonly #waiters = new Waiters();
  readonly #lag: LagWatch;
  readonly #counts: Counts;
  readonly #fatalListeners: ((error: OrchestrateError) => void)[] = [];
  #tasks: Task[] = [];
  readonly #cut = new Cut(this.#signal);
  #session: StreamSession | undefined;
  #former: Backend | undefined;
  #running: Promise<void> | undefined;
  #stopping = false;
  readonly #stopped = new AbortController();
  /** Nobody waits for an answer on the stream's sessions any more. */
  readonly #abandoned = new AbortController();
  #stored: Lsn = 0n;
  /** Everything before it is applied, though perhaps not stored yet: an idle stream's keepalive. */
  #reached: Lsn = 0n;
  #idleStoredAt = 0;
  /** Where the latest transaction starts that was taken from the stream. */
  #takenFinal: Lsn = -1n;
  /** What was being committed when the outcome became unknown. */
  #inFlight: { readonly endLsn: Lsn; readonly carried: readonly Carried[] } | undefined;
  #inFlightSince: bigint | undefined;
  /** After a constraint violation changes are applied one by one, so that the error can name the row. */
  #singly = false;
  #error: OrchestrateError | undefined;
  #fatal = false;

  constructor(ctx: Context, direction: Direction, sink: Sink, options: ApplierOptions = {}) {
    this.#ctx = ctx;
    this.#direction = direction;
    this.#sink = sink;
    this.#maxChanges = options.maxChanges ?? MAX_CHANGES;
    this.#maxQueueBytes = options.maxQueueBytes ?? MAX_QUEUE_BYTES;
    this.#counts = new Counts(ctx.metrics, direction);
    this.delta = options.delta ?? new Delta();
    this.#lag = new LagWatch(
      () => this.#session,
      () => this.#position(),
      () => this.#counts.report(this.status),
    );
  }

  get status(): ApplierStatus {
    const tail = this.#session?.tail;
    return {
      connected: this.#session !== undefined && !this.#fatal,
      appliedLsn: this.#stored,
      receivedLsn: tail?.receivedLsn ?? this.#stored,
      lagBytes: this.#lag.bytes,
      lagSeconds: this.#lag.seconds,
      queueChanges: tail?.changes ?? 0,
      lastMessageAt: tail?.lastMessageAt,
      appliedTransactions: this.#counts.transactions,
      appliedChanges: this.#counts.changes,
      reconnects: this.#counts.reconnects,
      error: this.#error,
      fatal: this.#fatal,
    };
  }

  /**
   * Checks I13 (slot, server identity, stored position) and begins; resolves once the stream runs. Afterwards it
   * reconnects with backoff by itself until `stop` or a fatal error.
   * @throws OrchestrateError SLOT_MISSING, SLOT_LOST, SLOT_AHEAD, IDENTITY_CHANGED, STORED_AHEAD and others.
   */
  async start(): Promise<void> {
    this.#session = await this.#open();
    this.#lag.start();
    if (this.#ctx.signal.aborted) this.#abort();
    else this.#ctx.signal.addEventListener('abort', this.#abort, { once: true });
    this.#running = this.#run(this.#session);
  }

  /**
   * Ends after the batch in flight; the slot keeps its place.
   * @param patience when it is aborted first the sessions are cut, and the batch is rolled back by its server; one whose
   *   commit had been sent may still land, until the next epoch is taken.
   * @returns the durable stored LSN.
   * @throws the reason of `patience`.
   */
  async stop(patience?: AbortSignal): Promise<Lsn> {
    this.#abort();
    const abandon = () => this.#abandoned.abort();
    if (patience?.aborted) abandon();
    patience?.addEventListener('abort', abandon, { once: true });
    await this.#running;
    patience?.removeEventListener('abort', abandon);
    patience?.throwIfAborted();
    return this.#stored;
  }

  /**
   * Resolves once the transaction that carries our transactional logical message with that content is durable on the
   * destination, with its end LSN. Call it BEFORE the message is emitted.
   */
  waitForMessage(content: string, signal: AbortSignal): Promise<Lsn> {
    if (this.#ended) return Promise.reject(this.#endedError());
    return this.#waiters.message(content, signal);
  }

  /** Resolves once every commit that ends at or before `lsn` is durable on the destination. */
  async waitForLsn(lsn: Lsn, signal: AbortSignal): Promise<void> {
    if (this.#stored >= lsn) return;
    if (this.#ended) throw this.#endedError();
    const reached = this.#waiters.position(lsn, signal);
    this.#signal.raise();
    await reached;
  }

  /**
   * While `work` runs, transactions are applied only some 150 ms after they arrived, so that a position `work` finds
   * (a new slot's consistent point) can still be cut at. Wrap the creation of the sweep's slot in it, and call
   * `cutBefore` from its `onConsistentPoint`.
   */
  holdBack<T>(work: () => Promise<T>): Promise<T> {
    return this.#cut.holdBack(work);
  }

  /**
   * Applies exactly the transactions whose commit record starts before `lsn`, pauses there, runs `paused`, goes on.
   * A transaction at or after `lsn` must follow (the transactional mark), or it waits until one does.
   * @throws OrchestrateError CUT_MISSED (transient) when a later transaction is already applied.
   */
  cutBefore<T>(lsn: Lsn, paused: () => Promise<T>): Promise<T> {
    if (this.#ended) return Promise.reject(this.#endedError());
    return this.#cut.plan(lsn, this.#takenFinal, paused);
  }

  /** Runs `work` on the destination's session between two batches, in a transaction of its own with the claim held. */
  between<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    if (this.#ended) return Promise.reject(this.#endedError());
    return new Promise<T>((resolve, reject) => {
      const run = async (session: StreamSession): Promise<void> => {
        // An error of the work is the caller's; a session that is lost with it shows at the next batch.
        const { destination, stored } = session;
        await exclusively(destination, this.#ctx, this.#direction, stored, () => work(destination)).then(
          resolve,
          reject,
        );
      };
      this.#tasks.push({ run, reject });
      this.#signal.raise();
    });
  }

  /** Calls `listener` when the stream has stopped for good. */
  onFatal(listener: (error: OrchestrateError) => void): void {
    this.#fatalListeners.push(listener);
  }

  readonly #abort = (): void => {
    this.#stopping = true;
    this.#stopped.abort();
    this.#signal.raise();
  };

  get #ended(): boolean {
    return this.#stopping || this.#fatal;
  }

  #endedError(): OrchestrateError {
    return this.#error !== undefined && this.#fatal
      ? this.#error
      : failure('STREAM_BROKEN', { message: 'the stream has been stopped' });
  }

  /** Serves sessions one after the other until it is stopped or nothing can help. Never rejects. */
  async #run(first: StreamSession): Promise<void> {
    let session: StreamSession | undefined = first;
    const patience = new Patience();
    while (!this.#stopping) {
      try {
        session ??= await this.#open();
        this.#session = session;
        if (this.#stopping) break;
        const before = this.#stored;
        await this.#serve(session).finally(() => {
          if (this.#stored !== before) patience.renew();
        });
      } catch (error) {
        if (this.#stopping) break;
        this.#session = undefined;
        this.#former = session?.backend ?? this.#former;
        await session?.close();
        session = undefined;
        const judged = judgeFailure(error, { lsn: this.#takenFinal, singly: this.#singly });
        this.#error = judged.error;
        this.#counts.failed(error);
        if (patience.endsWith(judged.verdict)) {
          this.#fatal = true;
          break;
        }
        this.#singly = judged.verdict === 'singly';
        this.#counts.reconnect(reasonOf(error));
        this.#lag.forget();
        this.#ctx.log.warn(
          {
            direction: this.#direction,
            code: judged.error.code,
            found: judged.error.detail.found,
            backoffMs: patience.backoffMs,
          },
          'the stream is interrupted and will be resumed',
        );
        await patience.wait(this.#stopped.signal);
      }
    }
    await this.#end(session);
  }

  async #end(session: StreamSession | undefined): Promise<void> {
    this.#lag.stop();
    this.#ctx.signal.removeEventListener('abort', this.#abort);
    this.#session = undefined;
    await session?.close();
    this.#counts.connected(false);
    const error = this.#endedError();
    this.#waiters.end(error);
    for (const task of this.#tasks) task.reject(error);
    this.#tasks = [];
    this.#cut.take()?.reject(error);
    if (!this.#fatal) return;
    this.#ctx.log.error(
      {
        direction: this.#direction,
        code: error.code,
        expected: error.detail.expected,
        found: error.detail.found,
      },
      'the stream has stopped',
    );
    for (const listener of this.#fatalListeners) listener(error);
  }

  async #open(): Promise<StreamSession> {
    const session = await StreamSession.open(this.#ctx, this.#direction, this.#former, {
      maxBytes: this.#maxQueueBytes,
      wake: () => this.#signal.raise(),
      abandoned: this.#abandoned.signal,
    });
    this.#stored = session.stored.lsn;
    this.#reached = this.#stored;
    this.#takenFinal = this.#stored - 1n;
    // The batch whose outcome was unknown did land: what it carried will not be sent again.
    if (this.#inFlight !== undefined && this.#stored >= this.#inFlight.endLsn)
      this.#waiters.durable(this.#stored, this.#inFlight.carried);
    this.#inFlight = undefined;
    this.#inFlightSince = undefined;
    this.#cut.resume(this.#stored);
    this.#counts.connected(true);
    this.#ctx.log.info(
      { direction: this.#direction, from: formatLsn(this.#stored), slot: session.stored.slot },
      'the stream runs',
    );
    return session;
  }

  /** The loop: batches while there is something, tasks between them, a stored keepalive when there is nothing. */
  async #serve(session: StreamSession): Promise<void> {
    const { destination, stored } = session;
    await exclusively(destination, this.#ctx, this.#direction, stored, async () =>
      this.#sink.upkeep?.(destination),
    );
    const feed = new Feed(session, this.#sink, this.delta, this.#signal, this.#counts);
    while (!this.#stopping) {
      for (let task = this.#tasks.shift(); task !== undefined; task = this.#tasks.shift())
        await task.run(session);
      const outcome = await feed.next({
        maxChanges: this.#singly ? 1 : this.#maxChanges,
        cut: () => this.#cut.lsn,
        arrivedBefore: () => this.#cut.arrivedBefore,
        messagePrefix: this.#ctx.names.messagePrefix,
        stopping: () => this.#stopping,
        interrupted: () => this.#tasks.length > 0,
        taken: (begin) => {
          this.#takenFinal = begin.finalLsn;
          this.#inFlightSince ??= begin.commitMicros;
        },
        committing: (endLsn, carried) => {
          this.#inFlight = { endLsn, carried };
        },
      });
      if (feed.reached !== undefined && feed.reached > this.#reached) this.#reached = feed.reached;
      switch (outcome.kind) {
        case 'applied':
          await this.#durable(session, outcome.endLsn, outcome.carried);
          this.#error = undefined;
          break;
        case 'cut':
          await this.#cut.take()?.run(session);
          break;
        case 'later':
          await this.#signal.sleep(Math.max(1, outcome.waitMs));
          break;
        case 'empty':
          await this.#idle(session);
          break;
        case 'stopped':
          return;
        default:
          outcome satisfies never;
      }
    }
  }

  /** Only what is stored is acknowledged, and only after its commit (I3). */
  async #durable(session: StreamSession, lsn: Lsn, carried: readonly Carried[]): Promise<void> {
    this.#stored = lsn;
    if (lsn > this.#reached) this.#reached = lsn;
    this.#inFlight = undefined;
    this.#inFlightSince = undefined;
    this.#waiters.durable(lsn, carried);
    await failpoint('ack.before');
    session.tail.acknowledge(lsn);
    await failpoint('ack.after');
  }

  async #idle(session: StreamSession): Promise<void> {
    this.#error = undefined;
    const awaited = this.#waiters.awaited;
    const now = performance.now();
    const due =
      awaited !== undefined && this.#reached >= awaited ? true : now - this.#idleStoredAt >= IDLE_STORE_MS;
    if (this.#reached > this.#stored && due) {
      this.#idleStoredAt = now;
      const { destination, stored } = session;
      const lsn = this.#reached;
      await exclusively(destination, this.#ctx, this.#direction, stored, () =>
        storeProgress(destination, this.#direction, stored, lsn),
      );
      session.stored = { ...session.stored, lsn };
      await this.#durable(session, lsn, []);
      return;
    }
    // The server says by itself only now and then how far it has read.
    if (awaited !== undefined && awaited > this.#reached) session.tail.ping();
    await this.#signal.sleep(awaited === undefined ? 1_000 : 50);
  }

  #position(): { applied: Lsn; oldestCommitMicros: bigint | undefined } {
    const queued = this.#session?.tail.oldestCommitMicros;
    return { applied: this.#reached, oldestCommitMicros: this.#inFlightSince ?? queued };
  }
}

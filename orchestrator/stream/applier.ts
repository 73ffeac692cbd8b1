import type pg from 'pg';
import { failure, type OrchestrateError } from '../errors/failure.ts';
import type { Lsn } from '../pg/lsn.ts';
import type { Direction } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { Delta } from '../verify/delta.ts';
import type { Sink } from './sink.ts';

export interface ApplierOptions {
  /** Most changes one destination transaction is filled with before it is committed. */
  readonly maxChanges?: number;
  /** Most bytes of changes that wait in memory; the socket is paused above it. */
  readonly maxQueueBytes?: number;
  /** Continue a delta that outlives this applier, e.g. across a pause. */
  readonly delta?: Delta;
}

export interface ApplierStatus {
  readonly connected: boolean;
  /** Durable on the destination. */
  readonly appliedLsn: Lsn;
  readonly receivedLsn: Lsn;
  /** Unknown is undefined, never 0. */
  readonly lagBytes: bigint | undefined;
  readonly lagSeconds: number | undefined;
  readonly queueChanges: number;
  /** Milliseconds since the epoch, this host's clock. */
  readonly lastMessageAt: number | undefined;
  readonly appliedTransactions: number;
  readonly appliedChanges: number;
  readonly reconnects: number;
  /** The error it stopped with, or the one it is trying to get over. */
  readonly error: OrchestrateError | undefined;
  /** Stopped for good by `error`. */
  readonly fatal: boolean;
}

/** One direction's stream: reads the source's slot, applies whole transactions, stores the position, acknowledges. */
export class Applier {
  readonly delta: Delta;

  constructor(ctx: Context, direction: Direction, sink: Sink, options: ApplierOptions = {}) {
    this.delta = options.delta ?? new Delta();
    void ctx;
    void direction;
    void sink;
  }

  get status(): ApplierStatus {
    throw failure('INTERNAL', { message: 'not written yet' });
  }

  /**
   * Checks I13 (slot, server identity, stored position) and begins; resolves once the stream runs. Afterwards it
   * reconnects with backoff by itself until `stop` or a fatal error.
   * @throws OrchestrateError SLOT_MISSING, SLOT_LOST, SLOT_AHEAD, IDENTITY_CHANGED, STORED_AHEAD and others.
   */
  start(): Promise<void> {
    throw failure('INTERNAL', { message: 'not written yet' });
  }

  /** Ends after the batch in flight. @returns the durable stored LSN; the slot keeps its place. */
  stop(): Promise<Lsn> {
    throw failure('INTERNAL', { message: 'not written yet' });
  }

  /**
   * Resolves once the transaction that carries our transactional logical message with that content is durable on the
   * destination, with its end LSN. Call it BEFORE the message is emitted.
   */
  waitForMessage(_content: string, _signal: AbortSignal): Promise<Lsn> {
    throw failure('INTERNAL', { message: 'not written yet' });
  }

  /** Resolves once every commit that ends at or before `lsn` is durable on the destination. */
  waitForLsn(_lsn: Lsn, _signal: AbortSignal): Promise<void> {
    throw failure('INTERNAL', { message: 'not written yet' });
  }

  /**
   * While `work` runs, transactions are applied only some 100 ms after they arrived, so that a position `work` finds
   * (a new slot's consistent point) can still be cut at. Wrap the creation of the sweep's slot in it, and call
   * `cutBefore` from its `onConsistentPoint`.
   */
  holdBack<T>(_work: () => Promise<T>): Promise<T> {
    throw failure('INTERNAL', { message: 'not written yet' });
  }

  /**
   * Applies exactly the transactions whose commit record starts before `lsn`, pauses there, runs `paused`, goes on.
   * A transaction at or after `lsn` must follow (the transactional mark), or it waits until one does.
   * @throws OrchestrateError CUT_MISSED (transient) when a later transaction is already applied.
   */
  cutBefore<T>(_lsn: Lsn, _paused: () => Promise<T>): Promise<T> {
    throw failure('INTERNAL', { message: 'not written yet' });
  }

  /** Runs `work` on the destination's session between two batches, in a transaction of its own with the claim held. */
  between<T>(_work: (client: pg.Client) => Promise<T>): Promise<T> {
    throw failure('INTERNAL', { message: 'not written yet' });
  }

  /** Calls `listener` when the stream has stopped for good. */
  onFatal(_listener: (error: OrchestrateError) => void): void {
    throw failure('INTERNAL', { message: 'not written yet' });
  }
}

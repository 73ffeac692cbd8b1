import type pg from 'pg';
import type { Change, Relation } from './change.ts';

/**
 * Consecutive changes of whole source transactions, in commit order. A transaction that is larger than a batch comes
 * as several batches inside one destination transaction.
 */
export interface Batch {
  readonly changes: readonly Change[];
  /** 32-bit ids of every source transaction in the destination transaction so far, this batch included. */
  readonly xids: readonly number[];
  /** What the sink's `prepare` made of exactly these changes. */
  readonly prepared?: unknown;
}

/** The destination transaction a sink writes into: begun, claim held, committed by the applier. */
export interface SinkTransaction {
  /** Session on the destination. */
  readonly client: pg.Client;
  /** Session on the source, outside any transaction, for reads that answer a change; opened at its first use. */
  source(): Promise<pg.Client>;
  /** Source ids whose rows may differ afterwards; they enter the delta before the commit. Add, never remove. */
  readonly touched: Set<number>;
}

/**
 * Writes the changes of one direction into the destination. It keeps no state that outlives a destination
 * transaction, unless `begin` resets it: a failed transaction is applied again, whole.
 */
export interface Sink {
  /**
   * How many batches one destination transaction may hold while more is waiting; default 1. Every commit waits for the
   * disk (I3), so a backlog is worth few of them; without a backlog a transaction ends when nothing waits.
   */
  readonly batchesPerCommit?: number;
  /**
   * Checks a table's description against the plan; called for every Relation message of the stream before any
   * change that uses it is applied. Must not wait.
   * @throws OrchestrateError SCHEMA_CHANGED with what was expected and found.
   */
  relation(relation: Relation): void;
  /**
   * What the sink found it needs first, in a transaction of its own before the stream goes on; called after every
   * (re)connection.
   */
  upkeep?(client: pg.Client): Promise<void>;
  /**
   * What can be made of changes without the destination, while it is still busy with the ones before. It must not
   * matter whether the changes are then applied in this batch, in another, or never.
   */
  prepare?(changes: readonly Change[]): unknown;
  /** A destination transaction begins; anything remembered of a former one is void. */
  begin(): void;
  /** Applies one batch. @throws what makes the applier roll back: transient errors are tried again. */
  apply(tx: SinkTransaction, batch: Batch): Promise<void>;
  /** The last batch of the destination transaction was applied; what is due once a transaction happens here. */
  finish(tx: SinkTransaction, xids: readonly number[]): Promise<void>;
}

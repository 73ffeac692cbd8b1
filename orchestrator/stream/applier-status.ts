import type { OrchestrateError } from '../errors/failure.ts';
import type { Lsn } from '../pg/lsn.ts';
import type { Delta } from '../verify/delta.ts';

export interface ApplierOptions {
  /** Most changes one destination transaction is filled with, unless one source transaction is larger. */
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

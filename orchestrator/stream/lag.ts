import type pg from 'pg';
import { type Lsn, parseLsn } from '../pg/lsn.ts';

/** What the source said at one moment. */
interface Sample {
  readonly lsn: Lsn;
  /** The source's clock, microseconds since the epoch. */
  readonly sourceMicros: bigint;
  /** `performance.now()` when the answer came. */
  readonly at: number;
}

/** Where the applier is when the lag is asked for. */
export interface Position {
  /** Everything before it is applied. */
  readonly applied: Lsn;
  /** Commit time of the oldest transaction that is received or in flight; undefined when there is none. */
  readonly oldestCommitMicros: bigint | undefined;
}

const NOW = `
  SELECT pg_current_wal_lsn()::text AS lsn,
         floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text AS micros`;

/**
 * How far the destination is behind. Measured against what the source has written, never against what was sent or
 * received: a stream that delivers nothing is not caught up (HISTORIES 25). Unknown is undefined, never 0.
 */
export class Lag {
  /** The newest answer of the source. */
  #latest: Sample | undefined;
  /** The oldest answer that is not reached yet: while nothing arrives, its age is the lag. */
  #pending: Sample | undefined;

  /** Asks the source; one short statement. */
  async sample(source: pg.ClientBase, applied: Lsn): Promise<void> {
    const { rows } = await source.query<{ lsn: string; micros: string }>(NOW);
    if (rows[0] === undefined) return;
    this.record(
      { lsn: parseLsn(rows[0].lsn), sourceMicros: BigInt(rows[0].micros), at: performance.now() },
      applied,
    );
  }

  /** Takes an answer that was already made. */
  record(sample: Sample, applied: Lsn): void {
    this.#latest = sample;
    if (this.#pending === undefined || applied >= this.#pending.lsn)
      this.#pending = applied >= sample.lsn ? undefined : sample;
  }

  /** The source cannot be asked: nothing is known. */
  forget(): void {
    this.#latest = undefined;
    this.#pending = undefined;
  }

  /** Bytes of WAL between what is applied and what the source had written at the last sample. */
  bytes(position: Position): bigint | undefined {
    if (this.#latest === undefined) return undefined;
    return position.applied >= this.#latest.lsn ? 0n : this.#latest.lsn - position.applied;
  }

  /** Seconds since the oldest commit that is not applied, on the source's clock. */
  seconds(position: Position, now = performance.now()): number | undefined {
    if (this.#latest === undefined) return undefined;
    const sourceNow = Number(this.#latest.sourceMicros) + (now - this.#latest.at) * 1_000;
    const waiting =
      position.oldestCommitMicros === undefined ? 0 : (sourceNow - Number(position.oldestCommitMicros)) / 1e6;
    const unreached =
      this.#pending === undefined || position.applied >= this.#pending.lsn
        ? 0
        : (sourceNow - Number(this.#pending.sourceMicros)) / 1e6;
    return Math.max(0, waiting, unreached);
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { isTransient } from '../errors/sqlstate.ts';
import { commit } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { appendJournal } from '../state/journal.ts';
import {
  type Chunk,
  type ChunkResult,
  claimChunk,
  finishChunk,
  type Snapshot,
  whatIsLeft,
} from './chunks.ts';
import type { Pace } from './pace.ts';
import { discard, openChunkWriter, openReader, SnapshotGone } from './session.ts';
import { type CopyFormat, countRange, parkedTransfer, targetTransfers } from './statements.ts';
import { type Moved, transferRows } from './transfer.ts';

/** What all workers of a process share. */
export interface CopyWork {
  readonly snapshot: Snapshot;
  readonly format: CopyFormat;
  readonly pace: Pace;
  /** Ends the copy: the lease is lost, the operator stops it, or another worker failed for good. */
  readonly signal: AbortSignal;
  /** Called between chunks; a reason keeps the worker waiting. */
  readonly shouldPause: () => Promise<string | undefined>;
  /** Called after each chunk that was committed. */
  readonly onChunk: (worker: string, result: ChunkResult) => Promise<void>;
}

/** A passing failure is tried again this often in a row before it counts. */
const MAX_FAILURES_IN_A_ROW = 6;

/**
 * One worker: copies free chunks until none is pending. A chunk that another process holds is waited for, because
 * that process may die and free it.
 *
 * A lost session, on either side, costs the chunk in flight: both sessions are closed and the chunk is taken again.
 * @throws SnapshotGone when the rest needs a newer snapshot; OrchestrateError STALE_EPOCH, COPY_MISCOUNT and others.
 */
export async function runCopier(ctx: Context, worker: string, work: CopyWork): Promise<void> {
  let failuresInARow = 0;
  let reader: pg.Client | undefined;
  let writer: pg.Client | undefined;
  try {
    for (;;) {
      work.signal.throwIfAborted();
      try {
        if ((await work.shouldPause()) !== undefined) {
          await delay(250, undefined, { signal: work.signal });
          continue;
        }
        reader ??= await openReader(ctx, work.snapshot);
        writer ??= await openChunkWriter(ctx);
        const result = await copyNextChunk(ctx, reader, writer, worker, work);
        failuresInARow = 0;
        if (result !== null) {
          await work.onChunk(worker, result);
          continue;
        }
        const left = await whatIsLeft(writer, work.snapshot);
        if (left === 'nothing') return;
        if (left === 'elsewhere') throw new SnapshotGone('the rest is to be copied under a newer snapshot');
        await delay(100, undefined, { signal: work.signal });
      } catch (error) {
        await Promise.all([discard(reader), discard(writer)]);
        reader = undefined;
        writer = undefined;
        if (work.signal.aborted || !isTransient(error) || ++failuresInARow >= MAX_FAILURES_IN_A_ROW)
          throw error;
        ctx.log.warn({ worker, failuresInARow, err: error }, 'a chunk failed and is taken again');
        await delay(100 * 2 ** failuresInARow, undefined, { signal: work.signal });
      }
    }
  } finally {
    await Promise.all([discard(reader), discard(writer)]);
  }
}

/** Copies one chunk in one green transaction. @returns null when no chunk is free. */
async function copyNextChunk(
  ctx: Context,
  reader: pg.Client,
  writer: pg.Client,
  worker: string,
  work: CopyWork,
): Promise<ChunkResult | null> {
  const startedAt = performance.now();
  await writer.query('BEGIN');
  await holdClaim(writer, ctx.claim());
  const chunk = await claimChunk(writer, work.snapshot);
  if (chunk === null) {
    await writer.query('ROLLBACK');
    return null;
  }
  const moved = await copyRange(ctx, reader, writer, chunk, work);
  const bytes = Object.values(moved.tables).reduce((sum, m) => sum + m.bytes, 0);
  const result: ChunkResult = {
    rows: moved.rows,
    bytes,
    seconds: (performance.now() - startedAt) / 1_000,
    tables: Object.fromEntries(Object.entries(moved.tables).map(([table, m]) => [table, m.rows])),
  };
  await finishChunk(writer, chunk, worker, result);
  // Evidence in the same transaction: who copied what is in the journal if and only if the rows are there.
  await appendJournal(writer, ctx.claim(), 'chunk', {
    worker,
    lower: chunk.lower,
    upper: chunk.upper,
    rows: result.rows,
    bytes: result.bytes,
    seconds: result.seconds,
    snapshot: work.snapshot.lsn,
  });
  await failpoint('chunk.before');
  await commit(writer);
  await failpoint('chunk.after');
  ctx.metrics.observe('copy_chunk_duration_seconds', {}, (performance.now() - startedAt) / 1_000);
  return result;
}

/** All targets and the parked rows of one range; every source row is accounted for, or nothing is kept (I1). */
async function copyRange(
  ctx: Context,
  reader: pg.Client,
  writer: pg.Client,
  chunk: Chunk,
  work: CopyWork,
): Promise<{ rows: number; tables: Record<string, Moved> }> {
  const { rows: counted } = await reader.query<{ n: string }>(countRange(ctx, chunk));
  const rows = Number(counted[0]?.n);
  const tables: Record<string, Moved> = {};
  let mapped: number | undefined;
  for (const transfer of targetTransfers(ctx, chunk, work.format)) {
    const moved = await transferRows(reader, writer, transfer, work.pace, work.signal);
    count(ctx, transfer.table, moved);
    if (mapped !== undefined && moved.rows !== mapped) throw miscount('the same rows in every target');
    mapped = moved.rows;
    tables[transfer.table] = moved;
  }
  // The two conditions cover every row, so a chunk without parked rows needs no second look at the table.
  let parked = 0;
  if (mapped !== rows) {
    const transfer = parkedTransfer(ctx, chunk, work.format);
    const moved = await transferRows(reader, writer, transfer, work.pace, work.signal);
    count(ctx, transfer.table, moved);
    tables[transfer.table] = moved;
    parked = moved.rows;
  }
  if ((mapped ?? 0) + parked !== rows) throw miscount('mapped and parked rows to be all rows of the chunk');
  return { rows, tables };
}

function count(ctx: Context, table: string, moved: Moved): void {
  ctx.metrics.add('copy_rows_total', { table }, moved.rows);
  ctx.metrics.add('copy_bytes_total', { table }, moved.bytes);
}

function miscount(expected: string): Error {
  return failure('COPY_MISCOUNT', { expected, found: 'another number' });
}

import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { planRanges } from '../copy/bounds.ts';
import { bindPending, type ChunkResult, countChunks, insertChunks, type Snapshot } from '../copy/chunks.ts';
import { saveAndDrop } from '../copy/constraints.ts';
import { runCrew } from '../copy/crew.ts';
import { agreedFormat } from '../copy/format.ts';
import { Pace } from '../copy/pace.ts';
import { readCopyProgress, reportCopyProgress } from '../copy/progress.ts';
import { discard, openReader, openWriter, SnapshotGone } from '../copy/session.ts';
import { type WalReading, walShortfall } from '../copy/wal-budget.ts';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { connect } from '../pg/connect.ts';
import { formatLsn } from '../pg/lsn.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { createSlot, inspectSlot, type OpenSlot, type SlotInfo } from '../stream/slot.ts';

export interface CopyOptions {
  /** Sessions on each side that copy at the same time; default 2. */
  readonly workers?: number;
  /** Bytes a second, all workers of this process together. */
  readonly maxRateBytes?: number;
  /** Asked between chunks: a reason to wait, or undefined to go on. */
  readonly shouldPause?: () => Promise<string | undefined>;
}

/** A snapshot that keeps dying is not blue restarting once. */
const MAX_SNAPSHOTS = 20;

/**
 * Copies everything that is not copied yet (DESIGN 5.2). May be run again after any crash: finished chunks stay, the
 * rest is copied under a newer snapshot, and replay begins at the first slot's position all the same.
 *
 * @param slot the slot prepare has just made, whose snapshot is still exported; `resume` where it has gone.
 * @throws OrchestrateError IDENTITY_CHANGED, SLOT_MISSING, SLOT_LOST, STALE_EPOCH, COPY_MISCOUNT and transient ones.
 */
export async function copyPhase(
  ctx: Context,
  slot: OpenSlot | 'resume',
  options: CopyOptions = {},
): Promise<void> {
  const startedAt = performance.now();
  let source: OpenSlot | 'resume' = slot;
  for (let snapshots = 1; ; snapshots++) {
    ctx.signal.throwIfAborted();
    if (await isCopied(ctx)) break;
    const open = source === 'resume' ? await newerSnapshot(ctx) : source;
    try {
      await copyUnder(ctx, open, options);
      break;
    } catch (error) {
      if (!(error instanceof SnapshotGone) || snapshots >= MAX_SNAPSHOTS) throw error;
      ctx.log.warn({ snapshots }, 'the exported snapshot is gone: the rest is copied under a newer one');
      source = 'resume';
    } finally {
      // The caller's own slot is the caller's to release.
      if (open !== slot) await open.release().catch(() => {});
    }
  }
  ctx.log.progress?.(null);
  const progress = await onGreen(ctx, (green) => reportCopyProgress(green, ctx));
  const seconds = (performance.now() - startedAt) / 1_000;
  await ctx.journal('copy', { finished: true, rows: progress.rowsDone, bytes: progress.bytes, seconds });
}

async function isCopied(ctx: Context): Promise<boolean> {
  const { total, pending } = await onGreen(ctx, countChunks);
  return total > 0 && pending === 0;
}

/** A temporary slot is only the way to a snapshot whose exact place in the WAL is known; it ends with the copy. */
async function newerSnapshot(ctx: Context): Promise<OpenSlot> {
  return createSlot(ctx, 'blue', {
    name: `${ctx.names.slot.blue}_${randomBytes(3).toString('hex')}`,
    temporary: true,
  });
}

async function copyUnder(ctx: Context, open: OpenSlot, options: CopyOptions): Promise<void> {
  const workers = options.workers ?? 2;
  const snapshot: Snapshot = { name: open.snapshot, lsn: formatLsn(open.consistentPoint) };
  const format = await plan(ctx, open, snapshot, workers);

  await runCrew(ctx, workers, {
    snapshot,
    format,
    pace: new Pace(options.maxRateBytes),
    shouldPause: pauseReporter(ctx, options.shouldPause ?? (async () => undefined)),
    onChunk: progressReporter(ctx),
  });
}

/**
 * Cuts the table into chunks and takes the indexes and constraints away, once, in one transaction; says in the same
 * breath under which snapshot everything pending is going to be copied.
 */
async function plan(
  ctx: Context,
  open: OpenSlot,
  snapshot: Snapshot,
  workers: number,
): Promise<'binary' | 'text'> {
  const reader = await openReader(ctx, snapshot);
  try {
    return await onGreen(ctx, async (green) => {
      await checkSource(reader, green, open);
      const format = await agreedFormat(reader, green, ctx);
      await failpoint('plan.before');
      await transaction(green, async () => {
        await holdClaim(green, ctx.claim());
        if ((await countChunks(green)).total === 0) {
          await green.query(`SET LOCAL lock_timeout = '30s'`);
          await saveAndDrop(green, ctx);
          await insertChunks(green, await planRanges(reader, ctx, workers));
        }
        await bindPending(green, snapshot);
      });
      await failpoint('plan.after');
      const { rowsExpected, chunks, chunksDone } = await readCopyProgress(green);
      const facts = { rowsExpected, chunks, chunksDone, workers, format, snapshot: snapshot.lsn };
      await ctx.journal('copy', { started: true, ...facts });
      return format;
    });
  } finally {
    await discard(reader);
  }
}

const STORED = `
  SELECT system_identifier, timeline, slot
  FROM orchestrator.progress
  WHERE direction = 'forward'`;

/** The rows of a snapshot belong to the server and the slot whose changes will be replayed over them (I13). */
async function checkSource(reader: pg.Client, green: pg.Client, open: OpenSlot): Promise<void> {
  const { rows } = await green.query<{ system_identifier: string; timeline: number; slot: string }>(STORED);
  const stored = rows[0];
  if (stored === undefined)
    throw failure('SLOT_MISSING', { expected: 'a stored slot position from prepare', found: 'none' });
  if (stored.system_identifier !== open.systemIdentifier || stored.timeline !== open.timeline)
    throw failure('IDENTITY_CHANGED', {
      message: 'blue is not the server that the first snapshot came from',
      expected: `system ${stored.system_identifier}, timeline ${stored.timeline}`,
      found: `system ${open.systemIdentifier}, timeline ${open.timeline}`,
    });
  await checkSlot(reader, stored.slot);
}

/** @returns the slot, whose WAL must still be there. @throws OrchestrateError SLOT_MISSING, SLOT_LOST. */
async function checkSlot(blue: pg.Client, name: string): Promise<SlotInfo> {
  const info = await inspectSlot(blue, name);
  if (info === null) throw failure('SLOT_MISSING', { expected: `slot ${name} on blue`, found: 'none' });
  if (info.lost)
    throw failure('SLOT_LOST', {
      expected: 'all WAL since the first snapshot',
      found: `wal_status ${info.walStatus}`,
    });
  return info;
}

/** Says once when the copy begins to wait, and once when it goes on. */
function pauseReporter(
  ctx: Context,
  ask: () => Promise<string | undefined>,
): () => Promise<string | undefined> {
  let current: string | undefined;
  return async () => {
    const reason = await ask();
    if (reason !== current) {
      current = reason;
      ctx.log.info({ reason: reason ?? null }, reason === undefined ? 'copy goes on' : 'copy pauses');
      await ctx.journal('copy', reason === undefined ? { resumed: true } : { paused: reason });
    }
    return reason;
  };
}

const REPORT_EVERY_MS = 1_000;
const LOOK_AT_SLOT_EVERY_MS = 5_000;

/** Reports progress after chunks, at most once a second: the gauges come from the chunks on green. */
function progressReporter(ctx: Context): (worker: string, result: ChunkResult) => Promise<void> {
  let reportedAt = 0;
  let lookedAt = performance.now();
  let first: WalReading | undefined;
  let warned = false;
  return async (worker, result) => {
    ctx.log.debug(
      { worker, rows: result.rows, bytes: result.bytes, seconds: result.seconds },
      'chunk copied',
    );
    const now = performance.now();
    if (now - reportedAt < REPORT_EVERY_MS) return;
    reportedAt = now;
    const progress = await onGreen(ctx, (green) => reportCopyProgress(green, ctx));
    const { rowsDone, rowsExpected, rate, eta } = progress;
    const seen = { rowsDone, rowsExpected, rate, eta };
    // Somebody who watches wants one line that changes, not a line a second.
    ctx.log.progress?.({ work: 'copying', ...progress });
    ctx.log[ctx.log.progress === undefined ? 'info' : 'debug'](seen, 'copying');
    if (now - lookedAt < LOOK_AT_SLOT_EVERY_MS) return;
    lookedAt = now;
    // A slot that is lost cannot be followed up: every further row would be copied in vain.
    const info = await onBlue(ctx, (blue) => checkSlot(blue, ctx.names.slot.blue));
    const latest = {
      at: now,
      safeBytes: info.safeWalBytes === undefined ? undefined : Number(info.safeWalBytes),
    };
    first ??= latest;
    const shortfall = walShortfall(first, latest, progress.etaSeconds);
    if (shortfall === null || warned) return;
    warned = true;
    const facts = { safe_wal_bytes: latest.safeBytes, eta, short_by_seconds: Math.round(shortfall) };
    ctx.log.warn(facts, 'the slot will be lost before the copy ends: raise max_slot_wal_keep_size on blue');
    await ctx.journal('copy', { slot_will_be_lost: true, ...facts });
  };
}

async function onBlue<T>(ctx: Context, work: (blue: pg.Client) => Promise<T>): Promise<T> {
  const blue = await connect(ctx.endpoints.blue, { purpose: 'copy-watch' });
  try {
    return await work(blue);
  } finally {
    await discard(blue);
  }
}

async function onGreen<T>(ctx: Context, work: (green: pg.Client) => Promise<T>): Promise<T> {
  const green = await openWriter(ctx);
  try {
    return await work(green);
  } finally {
    await discard(green);
  }
}

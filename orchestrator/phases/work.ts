import { setTimeout as delay } from 'node:timers/promises';
import { boundSnapshot, countChunks, type Snapshot } from '../copy/chunks.ts';
import { runCrew } from '../copy/crew.ts';
import { agreedFormat } from '../copy/format.ts';
import { Pace } from '../copy/pace.ts';
import { discard, openReader, openWriter, SnapshotGone } from '../copy/session.ts';
import type { CopyFormat } from '../copy/statements.ts';
import { hasCode } from '../errors/failure.ts';
import { isGone, isTransient } from '../errors/sqlstate.ts';
import type { Context } from '../state/context.ts';
import { readSide, readState } from '../state/store.ts';

export interface WorkOptions {
  /** Sessions on each side that this process copies with. */
  readonly workers: number;
  /** Bytes a second, this process alone. */
  readonly maxRateBytes?: number;
  /** Makes the context's claim the one of the runner that leads now; returns why there is nothing to do yet. */
  readonly follow: () => Promise<string | undefined>;
}

/** What this process has copied. */
export interface Worked {
  readonly chunks: number;
  readonly rows: number;
  readonly bytes: number;
}

/** What a look at green says: wait, copy under this snapshot, or nothing is left. */
type Look =
  | { readonly kind: 'wait'; readonly reason: string }
  | { readonly kind: 'copy'; readonly snapshot: Snapshot }
  | { readonly kind: 'over' };

const LOOK_EVERY_MS = 500;

/**
 * Copies chunks beside a runner, in a process or on a machine of its own, until none is left (DESIGN 4).
 *
 * It owns nothing: it takes chunks as the runner's own workers do, under the epoch of the runner that leads and under the
 * snapshot that this runner has exported. A takeover voids both, and whatever it had in hand with them (I10); it then
 * looks for the new ones. Its death frees the chunk it held.
 * @throws OrchestrateError AUTHENTICATION, IDENTITY_CHANGED and others that trying again cannot mend; the signal's reason.
 */
export async function workPhase(ctx: Context, options: WorkOptions): Promise<Worked> {
  const total = { chunks: 0, rows: 0, bytes: 0 };
  let waitingFor: string | undefined;
  let met = false;
  for (;;) {
    ctx.signal.throwIfAborted();
    try {
      const look = await lookAround(ctx, options);
      if (look.kind === 'over') break;
      if (look.kind === 'copy') {
        waitingFor = undefined;
        if (!met) await ctx.journal('worker', { started: true, workers: options.workers });
        met = true;
        await copyUnder(ctx, look.snapshot, options, total);
        continue;
      }
      if (look.reason !== waitingFor) ctx.log.info({ for: look.reason }, 'waiting');
      waitingFor = look.reason;
    } catch (error) {
      if (ctx.signal.aborted) throw ctx.signal.reason;
      // The control schema is dropped under us by abort, and by finalize: there is nothing left to copy.
      if (isGone(error) && met) return total;
      const passing = error instanceof SnapshotGone || hasCode(error, 'STALE_EPOCH') || isTransient(error);
      if (!passing && !isGone(error)) throw error;
      ctx.log.warn({ err: error }, 'what was in hand is void; looking for the runner that leads now');
    }
    await delay(LOOK_EVERY_MS, undefined, { signal: ctx.signal }).catch(() => {});
  }
  if (met) await ctx.journal('worker', { finished: true, ...total });
  return total;
}

async function lookAround(ctx: Context, options: WorkOptions): Promise<Look> {
  const green = await openWriter(ctx);
  try {
    if ((await readSide(green, ctx.names.migration)) === null)
      return { kind: 'wait', reason: 'orchestrate run to begin' };
    const { state } = await readState(green, ctx.names.migration);
    if (state.phase === 'created' || state.phase === 'prepared')
      return { kind: 'wait', reason: 'the copy to begin' };
    if (state.phase !== 'copying') return { kind: 'over' };
    const { total, pending } = await countChunks(green);
    if (total > 0 && pending === 0) return { kind: 'over' };
    const snapshot = await boundSnapshot(green);
    if (snapshot === null) return { kind: 'wait', reason: 'the copy to be planned' };
    const reason = await options.follow();
    return reason === undefined ? { kind: 'copy', snapshot } : { kind: 'wait', reason };
  } finally {
    await discard(green);
  }
}

async function copyUnder(
  ctx: Context,
  snapshot: Snapshot,
  options: WorkOptions,
  total: { chunks: number; rows: number; bytes: number },
): Promise<void> {
  const format = await formatUnder(ctx, snapshot);
  let askedAt = 0;
  let reason: string | undefined;
  await runCrew(ctx, options.workers, {
    snapshot,
    format,
    pace: new Pace(options.maxRateBytes),
    shouldPause: async () => {
      if (performance.now() - askedAt > LOOK_EVERY_MS) {
        askedAt = performance.now();
        reason = await options.follow();
      }
      return reason;
    },
    onChunk: async (worker, { rows, bytes, seconds }) => {
      total.chunks += 1;
      total.rows += rows;
      total.bytes += bytes;
      ctx.log.info({ worker, rows, bytes, seconds }, 'chunk copied');
    },
  });
}

async function formatUnder(ctx: Context, snapshot: Snapshot): Promise<CopyFormat> {
  const reader = await openReader(ctx, snapshot);
  try {
    const green = await openWriter(ctx);
    try {
      return await agreedFormat(reader, green, ctx);
    } finally {
      await discard(green);
    }
  } finally {
    await discard(reader);
  }
}

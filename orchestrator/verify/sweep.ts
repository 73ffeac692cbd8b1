import { performance } from 'node:perf_hooks';
import type { ParkReason } from '../../src/mapping/columns.ts';
import { Pace } from '../copy/pace.ts';
import { failpoint } from '../errors/failpoint.ts';
import { connect } from '../pg/connect.ts';
import { formatLsn } from '../pg/lsn.ts';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { roleMismatches, unfoundedParking } from './account.ts';
import { type CatalogDigest, catalogDigest, compareCatalog, describeChanges } from './catalog.ts';
import { Chunks } from './chunks.ts';
import { type Comparison, comparison } from './comparison.ts';
import type { Delta } from './delta.ts';
import { compareForeign, type ForeignRows } from './foreign.ts';
import { agreeOnHash } from './hash.ts';
import { inOrder, type Mismatch } from './mismatch.ts';
import { nameDifferences } from './naming.ts';
import { type Cuttable, type Picture, takePicture } from './picture.ts';
import { endAll } from './reader.ts';
import { settle } from './settle.ts';
import { MOST_LISTED, Tally } from './tally.ts';
import { compareChunks } from './workers.ts';

export interface SweepOptions {
  readonly serving: Side;
  readonly applier: Cuttable & { readonly delta: Delta };
  /** How many chunks are compared at the same time; default 2. */
  readonly workers?: number;
  /** Rows a chunk; default 25,000. */
  readonly chunkRows?: number;
  /** Rows a second that all workers together compare at most; unlimited unless given. */
  readonly maxRowsPerSecond?: number;
  /** Ends the sweep early, e.g. for a handover. */
  readonly signal?: AbortSignal;
}

/** Definitions of both sides' tables, as they were during a sweep. */
export type CatalogDigests = Readonly<Record<Side, CatalogDigest>>;

export interface SweepResult {
  /** No difference, and nothing voids it. */
  readonly clean: boolean;
  readonly serving: Side;
  readonly generation: bigint;
  /** The common point of both pictures, in the serving side's WAL. */
  readonly lsn: string;
  /** Source rows, each with all its parts. */
  readonly rowsCompared: number;
  /** At most MOST_LISTED of them by name. */
  readonly mismatches: readonly Mismatch[];
  /** All differences, listed or not. */
  readonly mismatched: number;
  readonly mapped: number;
  readonly parked: Readonly<Record<ParkReason, number>>;
  /** Why the sweep proves nothing: definitions that changed while it ran. */
  readonly voided: readonly string[];
  readonly catalog: CatalogDigests;
  /** Once green has served, and blue serves again: rows that are not ours, for the next sweep to compare with. */
  readonly foreign?: ForeignRows;
  readonly foreignHash?: string;
  readonly durationSeconds: number;
}

const WORKERS = 2;
const CHUNK_ROWS = 25_000;

/**
 * Compares every fact of both sides at one common LSN (I1), while both go on. Begins a new delta at that point; the
 * caller stores the result and then tells the delta how it ended.
 * @throws OrchestrateError when the picture cannot be taken or a side is lost; the old delta is still good then.
 */
export async function sweep(ctx: Context, options: SweepOptions): Promise<SweepResult> {
  const clock = performance.now();
  const { serving, applier } = options;
  const generation = ctx.claim().generation;
  const signal = options.signal === undefined ? ctx.signal : AbortSignal.any([ctx.signal, options.signal]);
  await failpoint('sweep.before');
  const catalog = await readCatalogs(ctx);
  const picture = await takePicture(ctx, serving, applier, () => applier.delta.beginSweep());
  const { readers } = picture;
  try {
    const hash = await agreeOnHash(readers.blue, readers.green);
    const c = comparison(ctx.relations, hash, serving, generation);
    const tally = await compareAll(ctx, picture, c, options, signal);
    const differences =
      serving === 'green' ? await settle(ctx, c, applier, tally.differences, signal) : tally.differences;
    const unlisted = tally.differing - tally.differences.length;
    const foreign =
      serving === 'blue' && generation > 0n
        ? await compareForeign(readers.green, ctx.relations, hash, generation)
        : undefined;
    const found = inOrder([
      ...(await nameDifferences(c, readers, differences)),
      ...(foreign?.mismatches ?? []),
      ...(serving === 'blue' ? await unfoundedParking(readers.control, ctx, null) : []),
      ...(generation === 0n ? await roleMismatches(readers.green, ctx.relations) : []),
    ]);
    const voided = catalogChanges(catalog, await readCatalogs(ctx));
    return {
      clean: found.length === 0 && unlisted === 0 && voided.length === 0,
      serving,
      generation,
      lsn: formatLsn(picture.lsn),
      rowsCompared: tally.rows,
      mismatches: found.slice(0, MOST_LISTED),
      mismatched: found.length + unlisted,
      mapped: tally.mapped,
      parked: tally.parked,
      voided,
      catalog,
      ...(foreign === undefined ? {} : { foreign: foreign.baseline, foreignHash: hash.name }),
      durationSeconds: (performance.now() - clock) / 1000,
    };
  } finally {
    await picture.release();
  }
}

/** Runs the workers; the first one that fails ends the others. */
async function compareAll(
  ctx: Context,
  picture: Picture,
  c: Comparison,
  options: SweepOptions,
  signal: AbortSignal,
): Promise<Tally> {
  const tally = new Tally();
  const chunks = new Chunks(
    picture.readers[options.serving],
    ctx.relations,
    options.serving,
    // A slow sweep is slow in small steps.
    Math.min(options.chunkRows ?? CHUNK_ROWS, options.maxRowsPerSecond ?? CHUNK_ROWS),
  );
  const pace = new Pace(options.maxRowsPerSecond);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const work = Array.from({ length: Math.max(1, options.workers ?? WORKERS) }, async () => {
    try {
      await compareChunks(ctx, picture, c, chunks, tally, pace, either);
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  });
  const ended = await Promise.allSettled(work);
  const failed = ended.find((e) => e.status === 'rejected');
  if (failed) throw failed.reason;
  return tally;
}

/** Reads the definitions of both sides' tables. */
export async function readCatalogs(ctx: Context): Promise<CatalogDigests> {
  const blue = await connect(ctx.endpoints.blue, { purpose: 'sweep-catalog' });
  try {
    const green = await connect(ctx.endpoints.green, { purpose: 'sweep-catalog' });
    try {
      return {
        blue: await catalogDigest(blue, ctx, 'blue'),
        green: await catalogDigest(green, ctx, 'green'),
      };
    } finally {
      await endAll([green]);
    }
  } finally {
    await endAll([blue]);
  }
}

/** @returns what changed between two readings, one line each. */
export function catalogChanges(before: CatalogDigests, after: CatalogDigests): string[] {
  return (['blue', 'green'] as const).flatMap((side) =>
    describeChanges(side, compareCatalog(before[side], after[side])),
  );
}

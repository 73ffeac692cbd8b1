import type { ClientBase } from 'pg';
import type { Context } from '../state/context.ts';

/** Ids are 32-bit integers; the first and the last range are open-ended, so that no id can fall outside of all. */
export const LOWEST_ID = -2_147_483_648n;
export const HIGHEST_ID = 2_147_483_647n;

/** A range of source ids, both ends included, and how many rows it held when it was planned (an estimate). */
export interface IdRange {
  readonly lower: bigint;
  readonly upper: bigint;
  readonly expectedRows: number;
}

/** About as much of the source's heap and TOAST as one chunk should move: what a crash makes us do again. */
const CHUNK_BYTES = 24 * 1024 * 1024;
const MIN_CHUNK_ROWS = 2_000;
const MAX_CHUNK_ROWS = 50_000;
/** So that workers end at about the same time, also on small tables. */
const CHUNKS_PER_WORKER = 4;

/** @returns how many rows one chunk should have. */
export function chunkRows(totalRows: number, totalBytes: number, workers: number): number {
  if (totalRows === 0) return MIN_CHUNK_ROWS;
  const byBytes = Math.floor(CHUNK_BYTES / (totalBytes / totalRows + 1));
  const byWorkers = Math.ceil(totalRows / (workers * CHUNKS_PER_WORKER));
  return Math.max(MIN_CHUNK_ROWS, Math.min(MAX_CHUNK_ROWS, byBytes, byWorkers));
}

/**
 * Cuts all ids into ranges that begin at the given ones.
 * @param cuts ids that are really there, ascending, about `rowsEach` rows apart.
 */
export function rangesFrom(cuts: readonly bigint[], totalRows: number): IdRange[] {
  const lowers = [LOWEST_ID, ...cuts.slice(1)].filter((id, i, all) => i === 0 || id > (all[i - 1] as bigint));
  const each = Math.round(totalRows / lowers.length);
  return lowers.map((lower, i) => {
    const next = lowers[i + 1];
    return { lower, upper: next === undefined ? HIGHEST_ID : next - 1n, expectedRows: each };
  });
}

/** A larger table is sampled by pages; up to this size, counting every row costs milliseconds. */
const SAMPLE_PAGES = 2_000;

/**
 * Plans the ranges from ids that are really there, never from min, max and arithmetic: holes, skew and negative ids
 * then cost nothing. Statistics are not asked: they may be missing or old, and a sample of pages is as cheap.
 * @param blue a session that sees the snapshot the rows will be copied under.
 * @param rowsEach how many rows a range should have at most, where that is not the size of a chunk.
 */
export async function planRanges(
  blue: ClientBase,
  ctx: Context,
  workers: number,
  rowsEach = MAX_CHUNK_ROWS,
): Promise<IdRange[]> {
  const table = ctx.relations.userSettings;
  const { rows: sizes } = await blue.query<{ heap: string; bytes: string; page: string }>(
    `SELECT pg_relation_size($1)::text AS heap,
            pg_table_size($1)::text AS bytes,
            current_setting('block_size') AS page`,
    [table],
  );
  const pages = Number(sizes[0]?.heap ?? 0) / Number(sizes[0]?.page ?? 8192);
  const percent = pages <= SAMPLE_PAGES ? 100 : (100 * SAMPLE_PAGES) / pages;
  const sample = percent === 100 ? '' : `TABLESAMPLE SYSTEM (${percent}) REPEATABLE (1)`;

  const { rows: counted } = await blue.query<{ n: string }>(
    `SELECT count(*)::text AS n
     FROM ${table} AS us ${sample}`,
  );
  const sampledRows = Number(counted[0]?.n ?? 0);
  const totalRows = Math.round((sampledRows * 100) / percent);
  const each = Math.min(rowsEach, chunkRows(totalRows, Number(sizes[0]?.bytes ?? 0), workers));
  const step = Math.max(1, Math.round((each * percent) / 100));
  const { rows: cuts } = await blue.query<{ id: string }>(
    `SELECT s.id::text AS id
     FROM (
       SELECT us."id" AS id, row_number() OVER (ORDER BY us."id") AS n
       FROM ${table} AS us ${sample}
     ) AS s
     WHERE (s.n - 1) % ${step} = 0
     ORDER BY s.n`,
  );
  return rangesFrom(
    cuts.map((c) => BigInt(c.id)),
    totalRows,
  );
}

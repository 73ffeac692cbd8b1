import type { ClientBase } from 'pg';
import { failure } from '../errors/failure.ts';
import { type Lsn, parseLsn } from '../pg/lsn.ts';
import type { IdRange } from './bounds.ts';

/**
 * The queue of the copy: rows of `orchestrator.chunk` with task `copy`. A chunk is done in the same green transaction
 * as its rows (I12), so it is copied exactly once, whoever dies.
 */
export interface Chunk {
  readonly id: string;
  readonly lower: bigint;
  readonly upper: bigint;
}

/** The picture of blue that pending chunks are copied from. */
export interface Snapshot {
  /** Name for `SET TRANSACTION SNAPSHOT`. */
  readonly name: string;
  /** The consistent point, as PostgreSQL prints it. */
  readonly lsn: string;
}

/** What was copied of one chunk. */
export interface ChunkResult {
  readonly rows: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly tables: Readonly<Record<string, number>>;
}

const COUNT = `
  SELECT count(*)::integer AS total,
         (count(*) FILTER (WHERE status = 'pending'))::integer AS pending
  FROM orchestrator.chunk
  WHERE task = 'copy'`;

/** @returns how many chunks there are; none means that nothing has been planned. */
export async function countChunks(green: ClientBase): Promise<{ total: number; pending: number }> {
  const { rows } = await green.query<{ total: number; pending: number }>(COUNT);
  return rows[0] ?? { total: 0, pending: 0 };
}

const LEFT = `
  SELECT count(*)::integer AS pending,
         (count(*) FILTER (WHERE detail ->> 'lsn' = $1))::integer AS mine
  FROM orchestrator.chunk
  WHERE task = 'copy' AND status = 'pending'`;

/**
 * What is left when no chunk could be claimed: `held` by other workers, who may die and free it; `elsewhere`, bound to
 * a newer snapshot than the caller's; or nothing.
 */
export async function whatIsLeft(
  green: ClientBase,
  snapshot: Snapshot,
): Promise<'nothing' | 'held' | 'elsewhere'> {
  const { rows } = await green.query<{ pending: number; mine: number }>(LEFT, [snapshot.lsn]);
  if ((rows[0]?.pending ?? 0) === 0) return 'nothing';
  return rows[0]?.mine === 0 ? 'elsewhere' : 'held';
}

const BOUND = `
  SELECT detail ->> 'snapshot' AS name, detail ->> 'lsn' AS lsn
  FROM orchestrator.chunk
  WHERE task = 'copy' AND status = 'pending' AND detail ? 'snapshot'
  LIMIT 1`;

/** @returns the snapshot under which pending chunks are to be copied, or null when there are none. */
export async function boundSnapshot(green: ClientBase): Promise<Snapshot | null> {
  return (await green.query<Snapshot>(BOUND)).rows[0] ?? null;
}

const INSERT = `
  INSERT INTO orchestrator.chunk (task, lower_id, upper_id, detail)
  SELECT 'copy', r.lower_id, r.upper_id, jsonb_build_object('expected', r.expected)
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r(lower_id, upper_id, expected)`;

/** Writes the plan, in the caller's transaction. */
export async function insertChunks(green: ClientBase, ranges: readonly IdRange[]): Promise<void> {
  await green.query(INSERT, [
    ranges.map((r) => r.lower.toString()),
    ranges.map((r) => r.upper.toString()),
    ranges.map((r) => r.expectedRows),
  ]);
}

const BIND = `
  UPDATE orchestrator.chunk
  SET detail = coalesce(detail, '{}') || jsonb_build_object('snapshot', $1::text, 'lsn', $2::text)
  WHERE task = 'copy' AND status = 'pending'`;

/**
 * Says under which snapshot all pending chunks will be copied, in the caller's transaction and before the first row
 * moves: the catch-up of build must know the newest one whatever dies (DESIGN 5.2).
 */
export async function bindPending(green: ClientBase, snapshot: Snapshot): Promise<void> {
  await green.query(BIND, [snapshot.name, snapshot.lsn]);
}

/** Only chunks of the worker's own snapshot: a plan that was bound anew in between is not copied from an old picture. */
const CLAIM = `
  SELECT id::text AS id, lower_id::text AS lower, upper_id::text AS upper
  FROM orchestrator.chunk
  WHERE task = 'copy' AND status = 'pending' AND detail ->> 'lsn' = $1
  ORDER BY lower_id
  LIMIT 1
  FOR UPDATE SKIP LOCKED`;

/** Takes the next free chunk for the caller's transaction, or null when no other is free. */
export async function claimChunk(green: ClientBase, snapshot: Snapshot): Promise<Chunk | null> {
  const { rows } = await green.query<{ id: string; lower: string; upper: string }>(CLAIM, [snapshot.lsn]);
  const row = rows[0];
  return row === undefined ? null : { id: row.id, lower: BigInt(row.lower), upper: BigInt(row.upper) };
}

const FINISH = `
  UPDATE orchestrator.chunk
  SET status = 'done', worker = $2, rows = $3, bytes = $4, detail = detail || $5::jsonb,
      finished_at = clock_timestamp()
  WHERE id = $1 AND status = 'pending'`;

/** Marks the chunk done, in the transaction that wrote its rows. */
export async function finishChunk(
  green: ClientBase,
  chunk: Chunk,
  worker: string,
  result: ChunkResult,
): Promise<void> {
  const { rowCount } = await green.query(FINISH, [
    chunk.id,
    worker,
    result.rows,
    result.bytes,
    JSON.stringify({ tables: result.tables, seconds: result.seconds }),
  ]);
  if (rowCount !== 1)
    throw failure('COPY_MISCOUNT', {
      message: 'a chunk that was claimed is no longer pending',
      expected: 'one pending chunk',
      found: `${rowCount}`,
    });
}

const NEWEST = `
  SELECT max((detail ->> 'lsn')::pg_lsn)::text AS lsn
  FROM orchestrator.chunk
  WHERE task = 'copy'`;

/** @returns the consistent point of the newest snapshot a chunk was copied under, or null before the first. */
export async function newestSnapshot(green: ClientBase): Promise<Lsn | null> {
  const { rows } = await green.query<{ lsn: string | null }>(NEWEST);
  const lsn = rows[0]?.lsn;
  return lsn === null || lsn === undefined ? null : parseLsn(lsn);
}

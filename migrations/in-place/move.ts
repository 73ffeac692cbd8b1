import type { RunQuery, TableSchemas } from '../session.ts';
import { BatchFailed, type Faulty, sqlStateOf } from './batch-failed.ts';
import { restoreForeignKeys, setForeignKeysAside } from './foreign-keys.ts';
import { beginInPlace, type InPlaceProgress, inPlaceProgress } from './progress.ts';
import { type Pass, reconcile, renew } from './reconcile.ts';
import { type Statements, statementsOf } from './statements.ts';

export interface MoveOptions {
  /** Rows a transaction. */
  readonly batchSize: number;
  /** Called after every batch; who wants a pause, or to stop, does it here. */
  readonly afterBatch: (progress: BatchProgress) => Promise<void>;
  /** Called before a durable step, for tests that end the process there. */
  readonly beforeBatch: () => Promise<void>;
}

export interface BatchProgress {
  readonly batch: number;
  readonly rowsRead: number;
  readonly rowsExpected: number;
}

/** More would only chase writers that are faster than we are: the last pass takes the rest under its lock. */
const MOST_ROUNDS = 10;

/**
 * Moves the rows of user_settings beside the org model, in batches that each are a transaction of their own, and then
 * what was written meanwhile, until little is left for the pass under the lock, which is `057` itself. Goes on where
 * an earlier call ended. Only one session may be at it; the caller holds a lock for that.
 * @param query a session outside of any transaction, acting as the tables' owner.
 * @throws BatchFailed that names the row; MigrationRefused when the org tables hold rows that are not ours.
 */
export async function moveInPlace(
  query: RunQuery,
  schemas: TableSchemas,
  options: MoveOptions,
): Promise<void> {
  const sql = statementsOf(schemas);
  // Rows and progress commit together, so what a crash of the server takes back is read again; the last pass is flushed.
  await query('SET synchronous_commit = off', []);
  await transaction(query, () => beginInPlace(query, schemas));
  let progress = await inPlaceProgress(query, schemas);
  if (!progress.copied) await transaction(query, () => setForeignKeysAside(query, schemas));
  let unnotedMs = 0;
  while (!progress.copied) {
    await options.beforeBatch();
    const startedAt = performance.now();
    const [done] = await query<Pick<InPlaceProgress, 'last_id' | 'copied' | 'batches' | 'rows_read'>>(
      sql.batch,
      [progress.last_id, options.batchSize, unnotedMs],
    ).catch((error: unknown) => failedBatch(query, sql, progress, options.batchSize, error));
    if (done === undefined) throw new Error('the progress of 057 is gone');
    unnotedMs = performance.now() - startedAt;
    progress = { ...progress, ...done };
    await options.afterBatch({
      batch: progress.batches,
      rowsRead: Number(progress.rows_read),
      rowsExpected: Number(progress.rows_expected),
    });
  }
  await query(sql.spent, [unnotedMs]);
  await transaction(query, () => restoreForeignKeys(query, schemas));
  for (let round = 1; round <= MOST_ROUNDS; round++)
    if ((await catchUp(query, schemas, options)) <= options.batchSize) return;
}

/**
 * Reads again what has been written since it was read, while writers go on. @returns how many rows that were.
 * @throws BatchFailed
 */
export async function catchUp(
  query: RunQuery,
  schemas: TableSchemas,
  options: Pick<MoveOptions, 'batchSize' | 'beforeBatch'>,
): Promise<number> {
  const sql = statementsOf(schemas);
  const progress = await inPlaceProgress(query, schemas);
  const startedAt = performance.now();
  // Before the first row is read: what is written from now on belongs to the next window.
  const [now] = await query<{ low: string; high: string }>(sql.horizon, []);
  if (now === undefined) throw new Error('the server showed no snapshot');
  const pass: Pass = {
    query,
    sql,
    batchSize: options.batchSize,
    locked: false,
    page: async (ids, work) => {
      await options.beforeBatch();
      await transaction(query, work).catch((error: unknown) =>
        failedPage(query, sql, pass, progress, ids, error),
      );
    },
  };
  const rows = await reconcile(pass, { low: BigInt(progress.since), high: BigInt(now.high) });
  await query(sql.advance, [now.low, rows, performance.now() - startedAt]);
  return rows;
}

async function transaction(query: RunQuery, work: () => Promise<void>): Promise<void> {
  await query('BEGIN', []);
  try {
    await work();
  } catch (error) {
    await query('ROLLBACK', []).catch(() => {});
    throw error;
  }
  await query('COMMIT', []);
}

/** Finds the row that a batch failed for, notes it for `migrate status`, and throws. */
async function failedBatch(
  query: RunQuery,
  sql: Statements,
  progress: InPlaceProgress,
  batchSize: number,
  error: unknown,
): Promise<never> {
  if (!isOfData(error)) throw error;
  let last = progress.last_id;
  const faulty = await firstFault(query, batchSize, async () => {
    const [one] = await query<{ last_id: string; copied: boolean }>(sql.batch, [last, 1, 0]);
    if (one === undefined || one.copied) return null;
    last = one.last_id;
    return last;
  });
  // The row after the last one that went well.
  const [row] = await query<{ id: number }>(sql.changed, [last, 1, '0', '-1']);
  return note(query, sql, progress, {
    id: faulty === undefined ? null : (row?.id ?? null),
    error: faulty ?? error,
  });
}

async function failedPage(
  query: RunQuery,
  sql: Statements,
  pass: Pass,
  progress: InPlaceProgress,
  ids: readonly number[],
  error: unknown,
): Promise<never> {
  if (!isOfData(error)) throw error;
  let index = -1;
  const faulty = await firstFault(query, ids.length, async () => {
    const id = ids[++index];
    if (id !== undefined) await renew(pass, [id]);
    return id ?? null;
  });
  return note(query, sql, progress, {
    id: faulty === undefined ? null : (ids[index] ?? null),
    error: faulty ?? error,
  });
}

/** Repeats a batch row by row, and takes all of it back. @returns the first error; undefined when there was none. */
async function firstFault(query: RunQuery, rows: number, step: () => Promise<unknown>): Promise<unknown> {
  await query('BEGIN', []);
  try {
    for (let i = 0; i < rows; i++) if ((await step()) === null) return undefined;
    return undefined;
  } catch (error) {
    return error;
  } finally {
    await query('ROLLBACK', []);
  }
}

async function note(
  query: RunQuery,
  sql: Statements,
  progress: InPlaceProgress,
  { id, error }: Faulty,
): Promise<never> {
  const failed = new BatchFailed(progress.batches + 1, id, error);
  await query(sql.fail, [failed.batch, failed.rowId, failed.state, failed.on]);
  throw failed;
}

/** Whether the server refused the rows themselves; anything else passes, or is nobody's row's fault. */
function isOfData(error: unknown): boolean {
  return /^(21|22|23|44|P0)/.test(sqlStateOf(error) ?? '');
}

import type { RunQuery } from '../session.ts';
import type { Statements } from './statements.ts';

/** From where on changes are looked for: those of `low` and later, seen from `high`. */
export interface Window {
  /** The lowest transaction that had not ended when everything older was read; null looks at every row. */
  readonly low: bigint | null;
  /** The next transaction id, at a moment before the reading. */
  readonly high: bigint;
}

export interface Pass {
  readonly query: RunQuery;
  readonly sql: Statements;
  readonly batchSize: number;
  /** Whether nobody else can write; then a key that is still held is an error. */
  readonly locked: boolean;
  /** Runs one page's statements; whoever is not in a transaction opens one. */
  readonly page: (ids: readonly number[], work: () => Promise<void>) => Promise<void>;
}

/** Half of the counter's range: a window that is wider says nothing about a row's age. */
const WIDEST = 2n ** 31n;
const BEFORE_ALL = '-2147483649';

/**
 * Reads everything again that was written since the window began, and what was deleted: afterwards the org model is
 * the image of user_settings as these rows were when they were read. With writers locked out that is the image, exactly.
 * @returns how many rows had changed.
 */
export async function reconcile(pass: Pass, window: Window): Promise<number> {
  const { sql } = pass;
  const width = window.low === null ? -1n : window.high - window.low;
  // A counter that went back is another server's, or one that was restored.
  const size = width < 0n || width >= WIDEST ? -1n : width;
  const changed = await pages(pass, sql.changed, [window.high.toString(), size.toString()]);
  return changed + (await pages(pass, sql.deleted, []));
}

async function pages(pass: Pass, select: string, more: readonly string[]): Promise<number> {
  let last = BEFORE_ALL;
  for (let total = 0; ; ) {
    const rows = await pass.query<{ id: number }>(select, [last, pass.batchSize, ...more]);
    const ids = rows.map((row) => row.id);
    if (ids.length > 0) await pass.page(ids, () => renew(pass, ids));
    total += ids.length;
    if (ids.length < pass.batchSize) return total;
    last = String(ids.at(-1));
  }
}

/** Takes away and makes anew the images of these ids and of everybody whom their keys concern. */
export async function renew(pass: Pass, ids: readonly number[]): Promise<void> {
  const { query, sql } = pass;
  const affected = (await query<{ id: number }>(sql.affected, [ids])).map((row) => row.id);
  for (const remove of sql.remove) await query(remove, [affected]);
  await query(pass.locked ? sql.renew : sql.renewWhileWritten, [affected]);
}

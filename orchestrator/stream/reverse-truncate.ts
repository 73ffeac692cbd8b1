import type { Relations } from '../../src/mapping/sql.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { deleteRows, type Found, readInverse, writeRows } from './inverse-rows.ts';
import { forgetTruncated } from './reverse-links.ts';
import type { SinkTransaction } from './sink.ts';

/**
 * TRUNCATE on green marks every key. A truncated `user` counts as a delete event of every user, so blue's mapped rows
 * go and its parked rows stay; the other tables leave users behind, whose rows are recomputed. Journaled.
 *
 * Keys are walked in pages over blue and then over green: nothing is held but one page of rows.
 */
export async function applyTruncate(
  tx: SinkTransaction,
  ctx: Context,
  tables: ReadonlySet<string>,
  xids: readonly number[],
): Promise<void> {
  const source = await tx.source();
  ctx.log.warn({ tables: [...tables] }, 'TRUNCATE on green: every row is recomputed on blue');
  await ctx.journal('truncate', { side: 'green', tables: [...tables] });
  await transaction(source, async () => {
    await holdClaim(source, ctx.claim());
    await forgetTruncated(source, tables);
  });
  const visit = async (keys: readonly number[]): Promise<void> => {
    const found: Found[] = await readInverse(source, ctx, xids, { users: keys });
    for (const k of keys) tx.touched.add(k);
    await writeRows(tx.client, ctx.relations, found);
    if (tables.has('user')) await deleteRows(tx.client, ctx.relations, found, new Set(keys));
  };
  await walk((after) => tx.client.query(page(ctx.relations.userSettings), [after, PAGE]), visit);
  await walk((after) => source.query(page(ctx.relations.user), [after, PAGE]), visit);
}

const PAGE = 500;

const page = (relation: Relations['user']) => `
  SELECT "id"
  FROM ${relation}
  WHERE "id" > $1::bigint
  ORDER BY "id"
  LIMIT $2`;

async function walk(
  read: (after: number) => Promise<{ rows: { id: number }[] }>,
  visit: (keys: readonly number[]) => Promise<void>,
): Promise<void> {
  for (let after = -2_147_483_649; ; ) {
    const { rows } = await read(after);
    const last = rows.at(-1);
    if (last === undefined) return;
    await visit(rows.map((r) => r.id));
    after = last.id;
  }
}

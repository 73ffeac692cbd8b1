import type pg from 'pg';
import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import { type Relations, SOURCE_LIST, SOURCE_NAMES, usFromText } from '../../src/mapping/sql.ts';
import type { Context } from '../state/context.ts';
import { deleteRows, readInverse, writeRows } from '../stream/inverse-rows.ts';

const parkedSql = (r: Relations) => `
  SELECT ${SOURCE_LIST}
  FROM ${r.parked} AS us
  WHERE us."id" = ANY ($1::integer[])`;

const restoreSql = (r: Relations) => `
  INSERT INTO ${r.userSettings} (${SOURCE_NAMES})
  SELECT ${SOURCE_LIST}
  FROM ${usFromText()}
  ON CONFLICT ("id") DO UPDATE
  SET ${SOURCE_COLUMNS.filter((c) => c.home !== 'key')
    .map((c) => `${ident(c.name)} = excluded.${ident(c.name)}`)
    .join(', ')}`;

/** What PostgreSQL printed, untouched. */
const RAW = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

/**
 * Derives rows of `user_settings` anew while green serves: the inverse of green's users, and the parked rows whole,
 * as green keeps them. What neither side of that has is deleted.
 * @param client session on blue, in the applier's transaction; `green` reads outside any.
 * @returns the keys that may differ from the last sweep's picture.
 */
export async function repairBlue(
  client: pg.Client,
  green: pg.Client,
  ctx: Context,
  keys: readonly number[],
): Promise<readonly number[]> {
  const found = await readInverse(green, ctx, [], { users: keys });
  await writeRows(client, ctx.relations, found);
  await deleteRows(client, ctx.relations, found, new Set(keys));
  const { rows } = await green.query<(string | null)[]>({
    text: parkedSql(ctx.relations),
    values: [keys],
    rowMode: 'array',
    types: RAW,
  });
  if (rows.length > 0)
    await client.query(
      restoreSql(ctx.relations),
      SOURCE_COLUMNS.map((_, i) => rows.map((row) => row[i])),
    );
  return keys;
}

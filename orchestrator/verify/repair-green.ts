import type pg from 'pg';
import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import { type Relations, relationOf, SOURCE_LIST } from '../../src/mapping/sql.ts';
import { TARGETS, type Target } from '../../src/mapping/target.ts';
import type { Context } from '../state/context.ts';
import { forwardSink } from '../stream/apply.ts';
import type { Change, Relation } from '../stream/change.ts';
import { SEEDED_ROLES } from './account.ts';

/** What PostgreSQL printed, untouched. */
const RAW = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

const sourceRowsSql = (r: Relations) => `
  SELECT ${SOURCE_LIST}
  FROM ${r.userSettings} AS us
  WHERE us."id" = ANY ($1::integer[])`;

/**
 * The keys and, before the first decision, every other one whose rows hang on theirs: a settings row in somebody
 * else's organisation, an extra membership. They belong to nobody, or are derived anew with the rest.
 */
const ENTANGLED = (r: Relations) => `
  WITH RECURSIVE entangled(k) AS (
    SELECT unnest($1::integer[])
    UNION
    SELECT x.k
    FROM entangled AS e
    CROSS JOIN LATERAL (
      SELECT s."id" AS k FROM ${r.settings} AS s WHERE s."org_id" = e.k
      UNION ALL
      SELECT s."id" FROM ${r.settings} AS s WHERE s."user_id" = e.k
      UNION ALL
      SELECT m."user_id" FROM ${r.orgUser} AS m WHERE m."org_id" = e.k) AS x
  )
  SELECT k FROM entangled`;

const REMOVE = (r: Relations): readonly string[] => [
  `DELETE FROM ${r.settings} WHERE "id" = ANY ($1::integer[])`,
  `DELETE FROM ${r.orgUser} WHERE "user_id" = ANY ($1::integer[])`,
  `DELETE FROM ${r.user} WHERE "id" = ANY ($1::integer[])`,
  `DELETE FROM ${r.org} WHERE "id" = ANY ($1::integer[])`,
  `DELETE FROM ${r.parked} WHERE "id" = ANY ($1::integer[])`,
];

/** `user_settings` in declared order, as the stream would describe it. */
const RELATION: Relation = {
  oid: 0,
  schema: '',
  name: 'user_settings',
  identity: 'd',
  columns: SOURCE_COLUMNS.map((c) => ({
    name: c.name,
    typeOid: 0,
    typeModifier: -1,
    key: c.home === 'key',
  })),
};

/**
 * Derives keys anew on green from blue's rows as they are now, through the same path as the stream's changes.
 * Before the first decision everything of these keys is removed first, for all of it is ours; afterwards facts and
 * our own constants are written over, and rows that are not ours are not touched (I8).
 * @param client session on green, in the applier's transaction; `blue` reads outside any.
 * @returns the keys that may differ from the last sweep's picture.
 */
export async function repairGreen(
  client: pg.Client,
  blue: pg.Client,
  ctx: Context,
  keys: readonly number[],
): Promise<ReadonlySet<number>> {
  const { relations } = ctx;
  const first = ctx.claim().generation === 0n;
  const all = first ? await entangled(client, relations, keys) : keys;
  const { rows } = await blue.query<(string | null)[]>({
    text: sourceRowsSql(relations),
    values: [all],
    rowMode: 'array',
    types: RAW,
  });
  if (first) for (const sql of REMOVE(relations)) await client.query(sql, [all]);
  const present = new Map(rows.map((row) => [Number(row[0]), row]));
  const changes: Change[] = [...all].map((key) => {
    const row = present.get(key);
    const gone = SOURCE_COLUMNS.map((c) => (c.home === 'key' ? String(key) : null));
    return row === undefined
      ? { kind: 'delete', relation: RELATION, old: gone }
      : { kind: 'insert', relation: RELATION, row };
  });
  const touched = new Set<number>(all);
  const sink = forwardSink(ctx, { mode: 'syncing' });
  sink.begin();
  const tx = { client, source: () => Promise.resolve(blue), touched };
  await sink.apply(tx, { changes, xids: [] });
  await sink.finish(tx, []);
  if (!first) for (const t of TARGETS) await restoreConstants(client, relations, t, [...present.keys()]);
  return touched;
}

async function entangled(client: pg.Client, r: Relations, keys: readonly number[]): Promise<number[]> {
  const { rows } = await client.query<{ k: number }>(ENTANGLED(r), [keys]);
  return rows.map((row) => row.k);
}

/** Own rows of mapped users that have no link and whose constants green has not changed: one set of users a target. */
const ours = (r: Relations, t: Target) => `
  SELECT u."id"
  FROM ${r.user} AS u
  WHERE u."id" = ANY ($1::integer[])
    AND NOT EXISTS (SELECT FROM ${r.link} AS l WHERE l.k = u."id")
    AND NOT EXISTS (SELECT FROM orchestrator.diverged AS d WHERE d.table_name = '${t.table}' AND d.k = u."id")`;

async function restoreConstants(
  client: pg.Client,
  r: Relations,
  t: Target,
  keys: readonly number[],
): Promise<void> {
  const columns = t.columns.filter((c) => c.kind !== 'fact');
  const key = t.table === 'org_user' ? 'user_id' : 'id';
  // A membership and an organisation that are gone come back; a user or settings row is the sink's business.
  if (t.table === 'org' || t.table === 'org_user')
    await client.query(
      `INSERT INTO ${relationOf(r, t.table)} (${columns.map((c) => ident(c.name)).join(', ')})
       SELECT ${columns.map((c) => c.sql).join(', ')}
       FROM (${ours(r, t)}) AS us
       ON CONFLICT DO NOTHING`,
      [keys],
    );
  const own = t.table === 'org_user' ? `AND t."org_id" = us."id"` : '';
  const assignments = [
    ...columns.filter((c) => c.name !== key).map((c) => `${ident(c.name)} = ${c.sql}`),
    ...EMPTY[t.table].map((name) => `${ident(name)} = NULL`),
  ];
  if (assignments.length === 0) return;
  await client.query(
    `UPDATE ${relationOf(r, t.table)} AS t
     SET ${assignments.join(', ')}
     FROM (${ours(r, t)}) AS us
     WHERE t.${ident(key)} = us."id" ${own}`,
    [keys],
  );
}

/** Columns of the org model that the mapping leaves NULL (MAPPING, "everything else NULL"). */
const EMPTY: Readonly<Record<Target['table'], readonly string[]>> = {
  org: ['contact_name', 'contact_email', 'conversation_expiration'],
  user: ['role_id'],
  org_user: [],
  settings: ['user_id'],
};

const ROLE_UPSERT = (r: Relations) => `
  INSERT INTO ${r.role} ("id", "name", "rank")
  VALUES ($1, $2, $3)
  ON CONFLICT ("id") DO UPDATE SET "name" = excluded."name", "rank" = excluded."rank"`;

const ROLE_DELETE = (r: Relations) => `
  DELETE FROM ${r.role} AS x
  WHERE x."id" <> ALL ($1::integer[])
    AND NOT EXISTS (SELECT FROM ${r.orgUser} AS m WHERE m."role_id" = x."id")
    AND NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u."role_id" = x."id")`;

/** Brings the seeded roles back and removes others that nothing refers to; before the first decision only. */
export async function repairRoles(client: pg.Client, r: Relations): Promise<void> {
  await client.query(ROLE_DELETE(r), [SEEDED_ROLES.map((role) => role.id)]);
  for (const role of SEEDED_ROLES) await client.query(ROLE_UPSERT(r), [role.id, role.name, role.rank]);
}

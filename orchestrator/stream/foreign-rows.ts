import type pg from 'pg';
import { type Relations, relationOf } from '../../src/mapping/sql.ts';
import { target } from '../../src/mapping/target.ts';
import { numberArray } from './text-array.ts';

/**
 * Rows of green's own making that stand in the way of what the old schema asks for (DESIGN 8, "Not revertible facts").
 * They exist only once green has served: before the first decision green is closed to everybody but us.
 */

const OWN = (r: Relations) => `
    SELECT x.k,
           CASE WHEN l.k IS NULL THEN x.k ELSE l.org_id END AS org_id,
           CASE WHEN l.k IS NULL THEN x.k ELSE l.settings_id END AS settings_id
    FROM unnest($1::integer[]) AS x(k)
    LEFT JOIN ${r.link} AS l ON l.k = x.k`;

/** Memberships and settings rows that refer to a user or to a user's own organisation, but are not the user's own. */
const BLOCKING = [
  { table: 'org_user', where: `t."org_id" = own.org_id AND t."user_id" <> own.k` },
  { table: 'org_user', where: `t."user_id" = own.k AND t."org_id" IS DISTINCT FROM own.org_id` },
  { table: 'settings', where: `t."org_id" = own.org_id AND t."id" IS DISTINCT FROM own.settings_id` },
  { table: 'settings', where: `t."user_id" = own.k AND t."id" IS DISTINCT FROM own.settings_id` },
] as const;

const KEEP = (r: Relations, { table, where }: (typeof BLOCKING)[number]) => `
  WITH own AS MATERIALIZED (${OWN(r)}
  ), moved AS (
    DELETE FROM ${relationOf(r, table)} AS t
    USING own
    WHERE ${where}
    RETURNING own.k, t.*::text AS row_text
  )
  INSERT INTO orchestrator.kept (k, table_name, row_text)
  SELECT k, '${table}', row_text FROM moved`;

/** What was moved to `orchestrator.kept`. */
export interface Kept {
  readonly orgUser: number;
  readonly settings: number;
}

/** Moves what would block the deletion of these users' own rows, whole, to `orchestrator.kept` (I8). */
export async function keepForeignRows(
  client: pg.Client,
  r: Relations,
  ids: readonly number[],
): Promise<Kept> {
  const counts = { org_user: 0, settings: 0 };
  for (const blocking of BLOCKING) {
    const { rowCount } = await client.query(KEEP(r, blocking), [numberArray(ids)]);
    counts[blocking.table] += rowCount ?? 0;
  }
  return { orgUser: counts.org_user, settings: counts.settings };
}

const orgName = target('org').columns.find((c) => c.name === 'name')?.sql ?? '';

const FORGET = (r: Relations) => `
  WITH diverged AS (DELETE FROM orchestrator.diverged WHERE k = ANY ($1::integer[]))
  DELETE FROM ${r.link} WHERE k = ANY ($1::integer[])`;

const TAKEN = (r: Relations) => `
  SELECT us."id",
         EXISTS (SELECT FROM ${r.org} AS o WHERE o."name" = ${orgName}) AS named
  FROM unnest($1::integer[]) AS us("id")
  WHERE EXISTS (SELECT FROM ${r.org} AS o WHERE o."id" = us."id")
     OR EXISTS (SELECT FROM ${r.settings} AS s WHERE s."id" = us."id")
     OR EXISTS (SELECT FROM ${r.org} AS o WHERE o."name" = ${orgName})`;

/** Explicit ids do not move a sequence: what the old side has numbered since must not be given again. */
const RAISE = (r: Relations, table: 'org' | 'settings') => `
  SELECT setval(s.seq, greatest(nextval(s.seq), (SELECT max("id") FROM ${relationOf(r, table)})))
  FROM (SELECT pg_get_serial_sequence($1, 'id') AS seq) AS s`;

const ALLOCATE = (r: Relations) => `
  INSERT INTO ${r.link} (k, org_id, settings_id)
  SELECT x.k,
         nextval(pg_get_serial_sequence($2, 'id'))::integer,
         nextval(pg_get_serial_sequence($3, 'id'))::integer
  FROM unnest($1::integer[]) AS x(k)`;

const DIVERGE = `
  INSERT INTO orchestrator.diverged (table_name, k)
  SELECT 'org', x.k FROM unnest($1::integer[]) AS x(k)
  ON CONFLICT DO NOTHING`;

/**
 * Prepares the insertion of forward images beside green's own rows: where the id or the name of the image's
 * organisation or settings row is taken, ids are allocated and a link row says which (HISTORIES 26).
 */
export async function makeRoom(client: pg.Client, r: Relations, ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return;
  await client.query(FORGET(r), [numberArray(ids)]);
  const { rows } = await client.query<{ id: number; named: boolean }>(TAKEN(r), [numberArray(ids)]);
  if (rows.length === 0) return;
  await client.query(RAISE(r, 'org'), [r.org]);
  await client.query(RAISE(r, 'settings'), [r.settings]);
  await client.query(ALLOCATE(r), [numberArray(rows.map((row) => row.id)), r.org, r.settings]);
  await client.query(DIVERGE, [numberArray(rows.filter((row) => row.named).map((row) => row.id))]);
}

/** Mapped users that green has left without an organisation or without settings of their own. */
const REHOME = (r: Relations) => `
  WITH own AS MATERIALIZED (${OWN(r)}
  ), homes AS MATERIALIZED (
    SELECT own.k,
           o."id" AS org_id,
           EXISTS (SELECT FROM ${r.settings} AS s WHERE s."org_id" = o."id" AND s."user_id" IS NULL) AS occupied
    FROM own
    LEFT JOIN ${r.org} AS o ON o."id" = own.org_id
  )
  SELECT k, org_id, occupied FROM homes`;

const NEW_ORG = (r: Relations) => `
  INSERT INTO ${r.org} ("id", "name")
  SELECT $2, CASE WHEN EXISTS (SELECT FROM ${r.org} AS o WHERE o."name" = ${orgName})
                  THEN ${orgName} || '_' || $2 ELSE ${orgName} END
  FROM (SELECT $1::integer AS "id") AS us`;

const NEW_SETTINGS = (r: Relations) => `
  INSERT INTO ${r.settings} ("id", "org_id")
  VALUES ($1, $2)`;

const NEXT = `SELECT nextval(pg_get_serial_sequence($1, 'id'))::integer AS id`;

const LINK = (r: Relations) => `
  INSERT INTO ${r.link} (k, org_id, settings_id)
  VALUES ($1, $2, $3)
  ON CONFLICT (k) DO UPDATE SET org_id = excluded.org_id, settings_id = excluded.settings_id`;

/**
 * Gives users that green has left without settings of their own an empty settings row to hold their facts: in their
 * own organisation, or in a new one where that is gone or holds another settings row.
 */
export async function rehome(client: pg.Client, r: Relations, ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return;
  await client.query(RAISE(r, 'org'), [r.org]);
  await client.query(RAISE(r, 'settings'), [r.settings]);
  const next = async (relation: string): Promise<number> => {
    const { rows } = await client.query<{ id: number }>(NEXT, [relation]);
    return rows[0]?.id ?? 0;
  };
  const { rows } = await client.query<{ k: number; org_id: number | null; occupied: boolean }>(REHOME(r), [
    numberArray(ids),
  ]);
  for (const { k, org_id: current, occupied } of rows) {
    let org = current;
    if (org === null || occupied) {
      org = await next(r.org);
      await client.query(NEW_ORG(r), [k, org]);
      await client.query(DIVERGE, [numberArray([k])]);
    }
    const settings = await next(r.settings);
    await client.query(NEW_SETTINGS(r), [settings, org]);
    await client.query(LINK(r), [k, org, settings]);
  }
}

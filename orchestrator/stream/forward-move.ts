import type pg from 'pg';
import { columnsOf, KEY_COLUMN, SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import {
  PARK_REASON,
  type Relations,
  relationOf,
  SOURCE_LIST,
  SOURCE_NAMES,
  targetNames,
  usFromText,
} from '../../src/mapping/sql.ts';
import { TARGETS, type Target, type TargetColumn } from '../../src/mapping/target.ts';
import type { Value } from './change.ts';
import { columnArrays, numberArray } from './text-array.ts';

const KEY = ident(KEY_COLUMN);

/**
 * Own rows of users, children first by the end of the statement: NO ACTION keys are checked then.
 * Whose an organisation or a settings row is says the link; without one they carry the user's id.
 */
const UNMAP = (r: Relations) => `
  WITH own AS MATERIALIZED (
    SELECT x.k,
           CASE WHEN l.k IS NULL THEN x.k ELSE l.org_id END AS org_id,
           CASE WHEN l.k IS NULL THEN x.k ELSE l.settings_id END AS settings_id
    FROM unnest($1::integer[]) AS x(k)
    LEFT JOIN ${r.link} AS l ON l.k = x.k
  ), member AS (
    DELETE FROM ${r.orgUser} AS t USING own WHERE t."org_id" = own.org_id AND t."user_id" = own.k
  ), settings AS (
    DELETE FROM ${r.settings} AS t USING own WHERE t."id" = own.settings_id
  ), person AS (
    DELETE FROM ${r.user} AS t USING own WHERE t."id" = own.k
  ), organisation AS (
    DELETE FROM ${r.org} AS t USING own WHERE t."id" = own.org_id
  ), diverged AS (
    DELETE FROM orchestrator.diverged AS t USING own WHERE t.k = own.k
  )
  DELETE FROM ${r.link} AS t USING own WHERE t.k = own.k`;

/** Deletes what is these users' own. What is not theirs and would block it must be gone already. */
export async function unmap(client: pg.Client, r: Relations, ids: readonly number[]): Promise<void> {
  if (ids.length > 0)
    await client.query({ name: 'forward_unmap', text: UNMAP(r), values: [numberArray(ids)] });
}

const UNPARK = (r: Relations) => `DELETE FROM ${r.parked} WHERE "id" = ANY ($1::integer[])`;

export async function unpark(client: pg.Client, r: Relations, ids: readonly number[]): Promise<void> {
  if (ids.length > 0)
    await client.query({ name: 'forward_unpark', text: UNPARK(r), values: [numberArray(ids)] });
}

const VACATE = (r: Relations) => `
  UPDATE ${r.user}
  SET ${KEY} = E'\\x01orchestrate ' || "id"
  WHERE "id" = ANY ($1::integer[])`;

const userFacts = columnsOf('user');
const REKEY = (r: Relations) => `
  UPDATE ${r.user} AS u
  SET ${userFacts.map((c) => `${ident(c.as)} = us.${ident(c.name)}`).join(', ')}
  FROM ${usFromText()}
  WHERE u."id" = us."id"`;

/** Gives mapped users other keys. In two steps: keys may be swapped, and each step is checked row by row. */
export async function rekey(
  client: pg.Client,
  r: Relations,
  rows: readonly (readonly Value[])[],
): Promise<void> {
  if (rows.length === 0) return;
  if (rows.length > 1)
    await client.query({
      name: 'forward_vacate',
      text: VACATE(r),
      values: [numberArray(rows.map((row) => Number(row[0])))],
    });
  await client.query({
    name: 'forward_rekey',
    text: REKEY(r),
    values: columnArrays(rows, SOURCE_COLUMNS.length),
  });
}

/** Which id a row of the org model gets: the user's, or what the link says. */
const identityOf = (t: Target, c: TargetColumn): string => {
  if (c.kind !== 'identity') return t.table === 'org' && c.name === 'name' ? 'us.org_name' : c.sql;
  switch (`${t.table}.${c.name}`) {
    case 'org.id':
    case 'org_user.org_id':
    case 'settings.org_id':
      return 'us.own_org';
    case 'settings.id':
      return 'us.own_settings';
    default:
      return c.sql;
  }
};

const orgName = TARGETS.find((t) => t.table === 'org')?.columns.find((c) => c.name === 'name')?.sql ?? '';

const insertInto = (r: Relations, t: Target): string => `
    INSERT INTO ${relationOf(r, t.table)} (${targetNames(t)})
    SELECT ${t.columns.map((c) => identityOf(t, c)).join(', ')}
    FROM us`;

/** Forward images. A name that green has given to another organisation is told apart by the organisation's id. */
const MAP = (r: Relations) => `
  WITH us AS MATERIALIZED (
    SELECT ${SOURCE_LIST},
           coalesce(l.org_id, us."id") AS own_org,
           coalesce(l.settings_id, us."id") AS own_settings,
           CASE WHEN l.k IS NOT NULL AND EXISTS (SELECT FROM ${r.org} AS o WHERE o."name" = ${orgName})
                THEN ${orgName} || '_' || l.org_id
                ELSE ${orgName} END AS org_name
    FROM ${usFromText()}
    LEFT JOIN ${r.link} AS l ON l.k = us."id"
  )${TARGETS.slice(0, -1)
    .map((t) => `, ${ident(`into_${t.table}`)} AS (${insertInto(r, t)}\n  )`)
    .join('')}
  ${TARGETS.slice(-1)
    .map((t) => insertInto(r, t))
    .join('')}`;

/** Inserts the forward images of whole rows, under the ids their link rows name. */
export async function map(
  client: pg.Client,
  r: Relations,
  rows: readonly (readonly Value[])[],
): Promise<void> {
  if (rows.length > 0)
    await client.query({
      name: 'forward_map',
      text: MAP(r),
      values: columnArrays(rows, SOURCE_COLUMNS.length),
    });
}

const PARK = (r: Relations) => `
  INSERT INTO ${r.parked} (${SOURCE_NAMES}, reason)
  SELECT ${SOURCE_LIST}, ${PARK_REASON}
  FROM ${usFromText()}
  ON CONFLICT ("id") DO UPDATE
  SET reason = excluded.reason, ${SOURCE_COLUMNS.map((c) => `${ident(c.name)} = excluded.${ident(c.name)}`).join(', ')}`;

/** Keeps whole rows as parked; the reason follows from the key: one that could be mapped is a duplicate. */
export async function park(
  client: pg.Client,
  r: Relations,
  rows: readonly (readonly Value[])[],
): Promise<void> {
  if (rows.length > 0)
    await client.query({
      name: 'forward_park',
      text: PARK(r),
      values: columnArrays(rows, SOURCE_COLUMNS.length),
    });
}

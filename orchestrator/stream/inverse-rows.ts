import type pg from 'pg';
import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import {
  inverseQuery,
  type Relations,
  SOURCE_LIST,
  SOURCE_NAMES,
  usFromText,
} from '../../src/mapping/sql.ts';
import type { Context } from '../state/context.ts';
import { columnArrays, numberArray } from './text-array.ts';
import { visible, whenVisible } from './visibility.ts';

/** A source key at the moment of the read, with its whole row as text if there is such a user on green. */
export interface Found {
  readonly k: number;
  readonly row: readonly (string | null)[] | null;
  /** The row of this id on blue is parked: not ours to change (I8). */
  readonly parked: boolean;
}

/**
 * The keys that marked ids belong to, with their rows. $1 xids, $2 users, $3 settings rows, $4 organisations.
 * An id without a link row may be a copied user's own: it counts as its own key, and a mark without a user changes
 * nothing. OFFSET 0 keeps the row's query by itself, key by key through the primary keys: merged with the rest the
 * planner takes whole tables and hashes them, for every batch.
 */
const inverse = (r: Relations) => `
  WITH visible AS MATERIALIZED (SELECT ${visible('$1')} AS ok),
  marked AS MATERIALIZED (
    SELECT unnest($2::integer[]) AS k
    UNION
    SELECT l.k FROM ${r.link} AS l WHERE l.settings_id = ANY ($3::integer[])
    UNION
    SELECT l.k FROM ${r.link} AS l WHERE l.org_id = ANY ($4::integer[])
    UNION
    SELECT t.id
    FROM unnest($3::integer[] || $4::integer[]) AS t(id)
    WHERE NOT EXISTS (SELECT FROM ${r.link} AS l WHERE l.k = t.id)
  )
  SELECT visible.ok, marked.k, us."id" IS NOT NULL AS present,
         EXISTS (SELECT FROM ${r.parked} AS p WHERE p."id" = marked.k) AS parked,
         ${SOURCE_LIST}
  FROM visible
  LEFT JOIN marked ON visible.ok
  LEFT JOIN LATERAL (${inverseQuery(r, 'u."id" = marked.k')} OFFSET 0) AS us ON true`;

/** What PostgreSQL printed, untouched. */
const RAW = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

/**
 * Reads the keys that ids of green belong to, and their whole rows, as the inverse mapping has them now.
 * @throws OrchestrateError NOT_VISIBLE when a transaction of the batch does not become visible to the read.
 */
export function readInverse(
  source: pg.Client,
  { relations, signal }: Pick<Context, 'relations' | 'signal'>,
  xids: readonly number[],
  ids: {
    readonly users: readonly number[];
    readonly settings?: readonly number[];
    readonly orgs?: readonly number[];
  },
): Promise<Found[]> {
  return whenVisible(signal, async () => {
    const { rows } = await source.query<(string | null)[]>({
      name: 'reverse_inverse',
      text: inverse(relations),
      values: [xids, ids.users, ids.settings ?? [], ids.orgs ?? []].map(numberArray),
      rowMode: 'array',
      types: RAW,
    });
    if (rows[0]?.[0] !== 't') return undefined;
    return rows.flatMap(([, k, present, parked, ...row]) =>
      k === null || k === undefined
        ? []
        : [{ k: Number(k), parked: parked === 't', row: present === 't' ? row : null }],
    );
  });
}

const assignments = SOURCE_COLUMNS.filter((c) => c.home !== 'key')
  .map((c) => `${ident(c.name)} = excluded.${ident(c.name)}`)
  .join(', ');
const columnsOf = (relation: string) => SOURCE_COLUMNS.map((c) => `${relation}.${ident(c.name)}`).join(', ');

/** Whole rows; one that is already there, text for text, is left alone. */
const upsert = (r: Relations) => `
  INSERT INTO ${r.userSettings} AS t (${SOURCE_NAMES})
  SELECT ${SOURCE_LIST}
  FROM ${usFromText()}
  ON CONFLICT ("id") DO UPDATE
  SET ${assignments}
  WHERE ROW(${columnsOf('t')})::text IS DISTINCT FROM ROW(${columnsOf('excluded')})::text`;

/** Writes the rows that were found into blue. A parked row of the same id is not ours and stays (I8). */
export async function writeRows(
  client: pg.Client,
  relations: Relations,
  found: readonly Found[],
): Promise<void> {
  const rows = found.flatMap((f) => (f.row === null || f.parked ? [] : [f.row]));
  if (rows.length === 0) return;
  await client.query({
    name: 'reverse_upsert',
    text: upsert(relations),
    values: columnArrays(rows, SOURCE_COLUMNS.length),
  });
}

const remove = (r: Relations) => `
  DELETE FROM ${r.userSettings}
  WHERE "id" = ANY ($1::integer[])`;

/** Deletes rows whose user had a delete event, is absent at the read, and is not parked (HISTORIES 28). */
export async function deleteRows(
  client: pg.Client,
  relations: Relations,
  found: readonly Found[],
  deleted: ReadonlySet<number>,
): Promise<void> {
  const keys = found.filter((f) => f.row === null && !f.parked && deleted.has(f.k)).map((f) => f.k);
  if (keys.length === 0) return;
  await client.query({ name: 'reverse_delete', text: remove(relations), values: [numberArray(keys)] });
}

import type pg from 'pg';
import { KEY_COLUMN, SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import { inverseQuery, type Relations, SOURCE_NAMES } from '../../src/mapping/sql.ts';
import type { KeyState, Place } from './assignment.ts';
import type { Value } from './change.ts';
import { numberArray, textArray } from './text-array.ts';
import { visible, whenVisible } from './visibility.ts';

const KEY = ident(KEY_COLUMN);
const ID = SOURCE_COLUMNS.findIndex((c) => c.home === 'key');

/** What PostgreSQL printed, untouched. */
const RAW = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

const PLACES = (r: Relations) => `
  SELECT x.id, u."id" IS NOT NULL AS mapped, u.${KEY} AS key, p."id" IS NOT NULL AS parked
  FROM unnest($1::integer[]) AS x(id)
  LEFT JOIN ${r.user} AS u ON u."id" = x.id
  LEFT JOIN ${r.parked} AS p ON p."id" = x.id`;

/** @returns where green holds each of these source rows. */
export async function readPlaces(
  client: pg.Client,
  r: Relations,
  ids: readonly number[],
): Promise<Map<number, Place>> {
  const { rows } = await client.query<{ id: number; mapped: boolean; key: string | null; parked: boolean }>({
    name: 'forward_places',
    text: PLACES(r),
    values: [numberArray(ids)],
  });
  return new Map(
    rows.map((row) => [
      row.id,
      row.mapped ? { at: 'mapped', key: row.key ?? '' } : row.parked ? { at: 'parked' } : { at: 'none' },
    ]),
  );
}

const KEYS = (r: Relations) => `
  SELECT k.key, u."id" AS holder, h.id AS heir
  FROM unnest($1::text[]) AS k(key)
  LEFT JOIN ${r.user} AS u ON u.${KEY} = k.key
  LEFT JOIN LATERAL (
    SELECT min(p."id") AS id
    FROM ${r.parked} AS p
    WHERE p.${KEY} = k.key AND p."id" <> ALL ($2::integer[])
  ) AS h ON true`;

/** @returns who has each key; heirs are looked for outside `changing`. */
export async function readKeys(
  client: pg.Client,
  r: Relations,
  keys: Iterable<string>,
  changing: readonly number[],
): Promise<Map<string, KeyState>> {
  const { rows } = await client.query<{ key: string; holder: number | null; heir: number | null }>({
    name: 'forward_keys',
    text: KEYS(r),
    values: [textArray(keys), numberArray(changing)],
  });
  return new Map(
    rows.map((row) => [row.key, { holder: row.holder ?? undefined, heir: row.heir ?? undefined }]),
  );
}

const IMAGES = (r: Relations) => `
  ${inverseQuery(r, 'u."id" = ANY ($1::integer[])')}
  UNION ALL
  SELECT ${SOURCE_NAMES} FROM ${r.parked} WHERE "id" = ANY ($1::integer[])`;

/** @returns the whole source rows as green holds them, mapped or parked, in declared order. */
export async function readImages(
  client: pg.Client,
  r: Relations,
  ids: readonly number[],
): Promise<Map<number, Value[]>> {
  const { rows } = await client.query<(string | null)[]>({
    name: 'forward_images',
    text: IMAGES(r),
    values: [numberArray(ids)],
    rowMode: 'array',
    types: RAW,
  });
  return new Map(rows.map((row) => [Number(row[ID]), row]));
}

/** Rows of blue with only the columns that were not sent; $1 xids, $2 ids. */
const REREAD = (r: Relations, columns: readonly string[]) => `
  SELECT ${visible('$1')} AS ok, us."id", ${columns.map((c) => `us.${ident(c)}`).join(', ')}
  FROM (SELECT 1) AS one
  LEFT JOIN ${r.userSettings} AS us ON us."id" = ANY ($2::integer[])`;

/**
 * Reads columns of blue rows whose values the stream did not send and green does not have: only while catching up
 * with the copy (DESIGN 5.2), and only when every transaction of the batch is visible (HISTORIES 1).
 * @param columns declared positions.
 * @returns the values by id; a row that blue no longer has is absent.
 * @throws OrchestrateError NOT_VISIBLE (transient).
 */
export async function reread(
  source: pg.Client,
  r: Relations,
  wanted: {
    readonly xids: readonly number[];
    readonly ids: readonly number[];
    readonly columns: readonly number[];
    readonly signal: AbortSignal;
  },
): Promise<Map<number, ReadonlyMap<number, Value>>> {
  const { columns } = wanted;
  const text = REREAD(
    r,
    columns.map((i) => SOURCE_COLUMNS[i]?.name ?? ''),
  );
  const values = [numberArray(wanted.xids), numberArray(wanted.ids)];
  return whenVisible(wanted.signal, async () => {
    const { rows } = await source.query<(string | null)[]>({ text, values, rowMode: 'array', types: RAW });
    if (rows[0]?.[0] !== 't') return undefined;
    return new Map(
      rows
        .filter(([, id]) => id !== null)
        .map(([, id, ...found]) => [Number(id), new Map(columns.map((column, i) => [column, found[i]]))]),
    );
  });
}

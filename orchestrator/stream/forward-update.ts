import type pg from 'pg';
import { columnsOf, KEY_COLUMN, SOURCE_COLUMNS, type SourceColumn } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import { type Relations, SOURCE_LIST, usFromText } from '../../src/mapping/sql.ts';
import type { Value } from './change.ts';
import { columnArrays } from './text-array.ts';

/** A row that the update of facts did not settle. */
export interface Exception {
  readonly id: number;
  readonly mapped: boolean;
  /** Its key is not the mapped row's. */
  readonly rekeyed: boolean;
  /** A mapped row whose own settings row is not there: born on green, or lost there. */
  readonly homeless: boolean;
}

/** Equality of these types is equality of their text; others (−0 and 0, json) are compared as text. */
const TEXT_EQUAL = new Set(['boolean', 'integer', 'bigint', 'smallint', 'character varying', 'text']);
TEXT_EQUAL.add('timestamp without time zone');

const comparable = (column: SourceColumn, sql: string): string =>
  TEXT_EQUAL.has(column.type) ? sql : `${sql}::text`;

/** The new value: what was sent, or what is there when it was not sent because it did not change. */
const incoming = (column: SourceColumn, current: string, masked: boolean): string => {
  const sent = `x.${ident(column.name)}`;
  if (!masked) return sent;
  return `CASE WHEN x.absent & ${1n << BigInt(SOURCE_COLUMNS.indexOf(column))} <> 0 THEN ${current} ELSE ${sent} END`;
};

const differ = (columns: readonly SourceColumn[], alias: string, masked: boolean): string =>
  columns
    .map((c) => {
      const current = `${alias}.${ident(c.as)}`;
      return `${comparable(c, current)} IS DISTINCT FROM ${comparable(c, incoming(c, current, masked))}`;
    })
    .join('\n        OR ');

const settings = columnsOf('settings');
const userFacts = columnsOf('user').filter((c) => c.name !== KEY_COLUMN);
const key = columnsOf('user').filter((c) => c.name === KEY_COLUMN);

/**
 * The facts of mapped rows, in one statement: settings and user rows that differ are updated, everything that needs
 * more (rows that are not mapped, other keys) comes back. Rows that are equal already are not written.
 *
 * $1 … the columns as text arrays; then, masked, which columns were not sent; then whether to look for users that
 * have no settings row of their own, which only a side that has served can hold.
 */
const update = (r: Relations, masked: boolean): string => {
  const next = SOURCE_COLUMNS.length + 1;
  const absent = masked ? `$${next}::bigint[]` : `'{}'::bigint[]`;
  const served = `$${masked ? next + 1 : next}::boolean`;
  return `
  WITH x AS MATERIALIZED (
    SELECT ${SOURCE_LIST}, ${masked ? 'us.absent' : '0::bigint AS absent'},
           u."id" IS NOT NULL AS mapped,
           u.${ident(KEY_COLUMN)} AS old_key,
           ${userFacts.map((c) => `u.${ident(c.as)} AS ${ident(`old_${c.as}`)}`).join(', ')},
           CASE WHEN u."id" IS NULL THEN NULL WHEN l.k IS NULL THEN u."id" ELSE l.settings_id END AS own_settings
    FROM ${masked ? maskedSource(absent) : usFromText()}
    LEFT JOIN ${r.user} AS u ON u."id" = us."id"
    LEFT JOIN ${r.link} AS l ON l.k = us."id"
  ), settings AS (
    UPDATE ${r.settings} AS s
    SET ${settings.map((c) => `${ident(c.as)} = ${incoming(c, `s.${ident(c.as)}`, masked)}`).join(', ')}
    FROM x
    WHERE s."id" = x.own_settings
      AND (${differ(settings, 's', masked)})
  ), facts AS (
    UPDATE ${r.user} AS u
    SET ${userFacts.map((c) => `${ident(c.as)} = ${incoming(c, `u.${ident(c.as)}`, masked)}`).join(', ')}
    FROM x
    WHERE u."id" = x."id" AND x.mapped
      AND (${userFacts.map((c) => differOld(c, masked)).join(' OR ')})
  )
  SELECT x."id", x.mapped,
         ${key.map((c) => `x.old_key IS DISTINCT FROM ${incoming(c, 'x.old_key', masked)}`).join(' OR ')} AS rekeyed,
         ${served} AND x.mapped AND NOT EXISTS (SELECT FROM ${r.settings} AS s WHERE s."id" = x.own_settings) AS homeless
  FROM x
  WHERE NOT x.mapped
     OR ${key.map((c) => `x.old_key IS DISTINCT FROM ${incoming(c, 'x.old_key', masked)}`).join(' OR ')}
     OR ${served} AND NOT EXISTS (SELECT FROM ${r.settings} AS s WHERE s."id" = x.own_settings)`;
};

const differOld = (c: SourceColumn, masked: boolean): string => {
  const old = `x.${ident(`old_${c.as}`)}`;
  return `${comparable(c, old)} IS DISTINCT FROM ${comparable(c, incoming(c, old, masked))}`;
};

/** `usFromText` with one more array: a bit a declared column that was not sent. */
const maskedSource = (absent: string): string => {
  const arrays = SOURCE_COLUMNS.map((_, i) => `$${1 + i}::text[]`).join(', ');
  const names = SOURCE_COLUMNS.map((c) => ident(c.name)).join(', ');
  const casts = SOURCE_COLUMNS.map((c) => `t.${ident(c.name)}::${c.type} AS ${ident(c.name)}`).join(', ');
  return `(SELECT ${casts}, t.absent FROM unnest(${arrays}, ${absent}) AS t(${names}, absent)) AS us`;
};

const statements = new WeakMap<Relations, { readonly plain: string; readonly masked: string }>();

/**
 * Updates the facts of those of `rows` that are mapped.
 * @param rows in declared order; `undefined` values are left as they are.
 * @param served whether green has served, so that a user may have no settings row of its own.
 * @returns what is not settled by that.
 */
export async function updateFacts(
  client: pg.Client,
  relations: Relations,
  rows: readonly (readonly Value[])[],
  served: boolean,
): Promise<Exception[]> {
  if (rows.length === 0) return [];
  let texts = statements.get(relations);
  if (texts === undefined) {
    texts = { plain: update(relations, false), masked: update(relations, true) };
    statements.set(relations, texts);
  }
  const whole: (readonly Value[])[] = [];
  const partial: (readonly Value[])[] = [];
  for (const row of rows) (row.includes(undefined) ? partial : whole).push(row);
  const exceptions: Exception[] = [];
  for (const [name, text, part] of [
    ['forward_update', texts.plain, whole],
    ['forward_update_partial', texts.masked, partial],
  ] as const) {
    if (part.length === 0) continue;
    const values: unknown[] = columnArrays(part, SOURCE_COLUMNS.length);
    if (part === partial) values.push(`{${part.map(absentBits).join(',')}}`);
    values.push(served);
    const { rows: found } = await client.query<Exception>({ name, text, values });
    exceptions.push(...found);
  }
  return exceptions;
}

function absentBits(row: readonly Value[]): string {
  let bits = 0n;
  for (let i = 0; i < row.length; i++) if (row[i] === undefined) bits |= 1n << BigInt(i);
  return bits.toString();
}

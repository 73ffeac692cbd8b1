import type pg from 'pg';
import { columnsOf, KEY_COLUMN, SOURCE_COLUMNS, type SourceColumn } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import { BinaryArrays } from './binary-arrays.ts';
import type { Value } from './change.ts';
import { WireRow } from './wire-row.ts';

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
const incoming = (column: SourceColumn, current: string, from: string, masked: boolean): string => {
  const sent = `${from}.${ident(column.name)}`;
  if (!masked) return sent;
  return `CASE WHEN ${from}.absent & ${1n << BigInt(SOURCE_COLUMNS.indexOf(column))} <> 0 THEN ${current} ELSE ${sent} END`;
};

const differ = (columns: readonly SourceColumn[], to: string, from: string, masked: boolean): string =>
  columns
    .map((c) => {
      const current = `${to}.${ident(c.as)}`;
      return `${comparable(c, current)} IS DISTINCT FROM ${comparable(c, incoming(c, current, from, masked))}`;
    })
    .join('\n        OR ');

const settings = columnsOf('settings');
const userFacts = columnsOf('user').filter((c) => c.name !== KEY_COLUMN);
const userKey = columnsOf('user').filter((c) => c.name === KEY_COLUMN);

/**
 * The facts of mapped rows, in one statement: settings and user rows that differ are updated, everything that needs
 * more (rows that are not mapped, other keys) comes back. Rows that are equal already are not written.
 *
 * $1 … the columns as arrays of text, each value cast once; then which columns were not sent, when some were not; then
 * whether to look for users that have no settings row of their own, which only a side that has served can hold.
 */
const update = (r: Relations, masked: boolean): string => {
  const next = SOURCE_COLUMNS.length + 1;
  const absent = masked ? `, $${next}::bigint[]` : '';
  const served = `$${masked ? next + 1 : next}::boolean`;
  return `
  WITH x AS MATERIALIZED (
    SELECT u."id" IS NOT NULL AS mapped,
           ${userKey.map((c) => `u.${ident(c.as)} IS DISTINCT FROM ${incoming(c, `u.${ident(c.as)}`, 'us', masked)}`).join(' OR ')} AS rekeyed,
           u."id" IS NOT NULL AND (${differ(userFacts, 'u', 'us', masked)}) AS told,
           CASE WHEN u."id" IS NULL THEN NULL WHEN l.k IS NULL THEN u."id" ELSE l.settings_id END AS own_settings,
           us.*
    FROM (
      SELECT ${SOURCE_COLUMNS.map((c) => `t.${ident(c.name)}::${c.type} AS ${ident(c.name)}`).join(', ')}${masked ? ', t.absent' : ''}
      FROM unnest(${SOURCE_COLUMNS.map((_, i) => `$${1 + i}::text[]`).join(', ')}${absent})
        AS t(${SOURCE_COLUMNS.map((c) => ident(c.name)).join(', ')}${masked ? ', absent' : ''})
      OFFSET 0
    ) AS us
    LEFT JOIN ${r.user} AS u ON u."id" = us."id"
    LEFT JOIN ${r.link} AS l ON l.k = us."id"
  ), settings AS (
    UPDATE ${r.settings} AS s
    SET ${settings.map((c) => `${ident(c.as)} = ${incoming(c, `s.${ident(c.as)}`, 'x', masked)}`).join(', ')}
    FROM x
    WHERE s."id" = x.own_settings
      AND (${differ(settings, 's', 'x', masked)})
  ), facts AS (
    UPDATE ${r.user} AS u
    SET ${userFacts.map((c) => `${ident(c.as)} = ${incoming(c, `u.${ident(c.as)}`, 'x', masked)}`).join(', ')}
    FROM x
    WHERE u."id" = x."id" AND x.told
  )
  SELECT x."id", x.mapped, x.rekeyed,
         ${served} AND x.mapped AND NOT EXISTS (SELECT FROM ${r.settings} AS s WHERE s."id" = x.own_settings) AS homeless
  FROM x
  WHERE NOT x.mapped
     OR x.rekeyed
     OR ${served} AND NOT EXISTS (SELECT FROM ${r.settings} AS s WHERE s."id" = x.own_settings)`;
};

const statements = new WeakMap<Relations, { readonly plain: string; readonly masked: string }>();

/** Rows as the statements take them; made without the destination. */
export interface Facts {
  /** One array a column, of rows of which every value was sent. */
  readonly whole: readonly Buffer[] | undefined;
  /** The same of rows of which some values were not sent, and an array that says which. */
  readonly partial: readonly (Buffer | string)[] | undefined;
}

/** Collects rows; made once, because the room they need is kept. */
export class FactRows {
  readonly #whole = new BinaryArrays(SOURCE_COLUMNS.length);
  readonly #partial = new BinaryArrays(SOURCE_COLUMNS.length);
  #absent: string[] = [];

  /** @param row in declared order, or as it came; `undefined` values are to be left as they are. */
  add(row: readonly Value[] | WireRow): void {
    if (row instanceof WireRow || !row.includes(undefined)) {
      this.#whole.add(row);
      return;
    }
    this.#partial.add(row);
    this.#absent.push(absentBits(row));
  }

  /** @returns what was added; nothing is left here. */
  take(): Facts {
    const absent = this.#absent;
    this.#absent = [];
    return {
      whole: this.#whole.rows === 0 ? undefined : this.#whole.take(),
      partial: absent.length === 0 ? undefined : [...this.#partial.take(), `{${absent.join(',')}}`],
    };
  }
}

/**
 * Updates the facts of those of the rows that are mapped.
 * @param served whether green has served, so that a user may have no settings row of its own.
 * @returns what is not settled by that.
 */
export async function updateFacts(
  client: pg.Client,
  relations: Relations,
  { whole, partial }: Facts,
  served: boolean,
): Promise<Exception[]> {
  let texts = statements.get(relations);
  if (texts === undefined) {
    texts = { plain: update(relations, false), masked: update(relations, true) };
    statements.set(relations, texts);
  }
  const exceptions: Exception[] = [];
  for (const [name, text, arrays] of [
    ['forward_update', texts.plain, whole],
    ['forward_update_partial', texts.masked, partial],
  ] as const) {
    if (arrays === undefined) continue;
    const { rows } = await client.query<Exception>({ name, text, values: [...arrays, served] });
    exceptions.push(...rows);
  }
  return exceptions;
}

function absentBits(row: readonly Value[]): string {
  let bits = 0n;
  for (let i = 0; i < row.length; i++) if (row[i] === undefined) bits |= 1n << BigInt(i);
  return bits.toString();
}

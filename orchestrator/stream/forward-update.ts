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

const idColumn = columnsOf('key');
const settings = columnsOf('settings');
const userFacts = columnsOf('user').filter((c) => c.name !== KEY_COLUMN);
const userKey = columnsOf('user').filter((c) => c.name === KEY_COLUMN);

/**
 * Some columns of the rows: $1 … are all columns as arrays of text, each value cast once; then comes which columns were
 * not sent, when some were not.
 */
const sentRows = (columns: readonly SourceColumn[], masked: boolean): string => {
  const arrays = columns.map((c) => `$${1 + SOURCE_COLUMNS.indexOf(c)}::text[]`);
  return `(
      SELECT ${columns.map((c) => `t.${ident(c.name)}::${c.type} AS ${ident(c.name)}`).join(', ')}${masked ? ', t.absent' : ''}
      FROM unnest(${arrays.join(', ')}${masked ? `, $${SOURCE_COLUMNS.length + 1}::bigint[]` : ''})
        AS t(${columns.map((c) => ident(c.name)).join(', ')}${masked ? ', absent' : ''})
      OFFSET 0
    )`;
};

/**
 * The facts of mapped rows while green has never served, in one statement: settings and user rows that differ are
 * updated, everything that needs more (rows that are not mapped, other keys) comes back. Rows that are equal already
 * are not written. A settings row is there exactly when its user is, under the same id: nobody but us has written.
 */
const updateCopied = (r: Relations, masked: boolean): string => `
  WITH x AS MATERIALIZED (
    SELECT us."id",
           u."id" IS NOT NULL AS mapped,
           ${userKey.map((c) => `u.${ident(c.as)} IS DISTINCT FROM ${incoming(c, `u.${ident(c.as)}`, 'us', masked)}`).join(' OR ')} AS rekeyed,
           u."id" IS NOT NULL AND (${differ(userFacts, 'u', 'us', masked)}) AS told,
           ${userFacts.map((c) => `us.${ident(c.name)}`).join(', ')}${masked ? ', us.absent' : ''}
    FROM ${sentRows([...idColumn, ...columnsOf('user')], masked)} AS us
    LEFT JOIN ${r.user} AS u ON u."id" = us."id"
  ), settings AS (
    UPDATE ${r.settings} AS s
    SET ${settings.map((c) => `${ident(c.as)} = ${incoming(c, `s.${ident(c.as)}`, 'us', masked)}`).join(', ')}
    FROM ${sentRows([...idColumn, ...settings], masked)} AS us
    WHERE s."id" = us."id"
      AND (${differ(settings, 's', 'us', masked)})
  ), facts AS (
    UPDATE ${r.user} AS u
    SET ${userFacts.map((c) => `${ident(c.as)} = ${incoming(c, `u.${ident(c.as)}`, 'x', masked)}`).join(', ')}
    FROM x
    WHERE u."id" = x."id" AND x.told
  )
  SELECT x."id", x.mapped, x.rekeyed, false AS homeless
  FROM x
  WHERE NOT x.mapped OR x.rekeyed`;

/**
 * The same once green has served: whose a settings row is says the link, and there may be none. The last parameter
 * says whether to look for users without one.
 */
const update = (r: Relations, masked: boolean): string => {
  const next = SOURCE_COLUMNS.length + 1;
  const served = `$${masked ? next + 1 : next}::boolean`;
  return `
  WITH x AS MATERIALIZED (
    SELECT u."id" IS NOT NULL AS mapped,
           ${userKey.map((c) => `u.${ident(c.as)} IS DISTINCT FROM ${incoming(c, `u.${ident(c.as)}`, 'us', masked)}`).join(' OR ')} AS rekeyed,
           u."id" IS NOT NULL AND (${differ(userFacts, 'u', 'us', masked)}) AS told,
           CASE WHEN u."id" IS NULL THEN NULL WHEN l.k IS NULL THEN u."id" ELSE l.settings_id END AS own_settings,
           us.*
    FROM ${sentRows(SOURCE_COLUMNS, masked)} AS us
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

interface Statements {
  readonly copied: { readonly whole: string; readonly partial: string };
  readonly served: { readonly whole: string; readonly partial: string };
}

const statements = new WeakMap<Relations, Statements>();

function statementsOf(r: Relations): Statements {
  let texts = statements.get(r);
  if (texts === undefined) {
    texts = {
      copied: { whole: updateCopied(r, false), partial: updateCopied(r, true) },
      served: { whole: update(r, false), partial: update(r, true) },
    };
    statements.set(r, texts);
  }
  return texts;
}

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
 * @param side what green is: it has only been copied to; it has served, so that a user may have no settings row of its
 *   own; it has served, and all of these users have one now.
 * @returns what is not settled by that.
 */
export async function updateFacts(
  client: pg.Client,
  relations: Relations,
  { whole, partial }: Facts,
  side: 'copied' | 'served' | 'rehomed',
): Promise<Exception[]> {
  const texts = statementsOf(relations);
  const exceptions: Exception[] = [];
  for (const [kind, arrays] of [
    ['whole', whole],
    ['partial', partial],
  ] as const) {
    if (arrays === undefined) continue;
    const { rows } = await client.query<Exception>(
      side === 'copied'
        ? { name: `forward_update_${kind}`, text: texts.copied[kind], values: [...arrays] }
        : {
            name: `forward_update_served_${kind}`,
            text: texts.served[kind],
            values: [...arrays, side === 'served'],
          },
    );
    exceptions.push(...rows);
  }
  return exceptions;
}

function absentBits(row: readonly Value[]): string {
  let bits = 0n;
  for (let i = 0; i < row.length; i++) if (row[i] === undefined) bits |= 1n << BigInt(i);
  return bits.toString();
}

import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import {
  forwardList,
  MAPPABLE,
  PARK_REASON,
  relationOf,
  SOURCE_LIST,
  SOURCE_NAMES,
  targetNames,
  UNMAPPABLE,
} from '../../src/mapping/sql.ts';
import { TARGETS, type Target } from '../../src/mapping/target.ts';
import type { Context } from '../state/context.ts';
import { HIGHEST_ID, type IdRange, LOWEST_ID } from './bounds.ts';

export type CopyFormat = 'binary' | 'text';

/** One COPY out of blue and the COPY into green that takes its bytes. */
export interface Transfer {
  /** The metrics' label: a target table, or `parked`. */
  readonly table: string;
  readonly out: string;
  readonly into: string;
}

type Range = Pick<IdRange, 'lower' | 'upper'>;

/** The rows of a range; the ends of all ids are open. Numbers only: COPY takes no parameters. */
export function inRange({ lower, upper }: Range): string {
  const from = lower > LOWEST_ID ? [`us."id" >= ${lower}`] : [];
  const to = upper < HIGHEST_ID ? [`us."id" <= ${upper}`] : [];
  return [...from, ...to].join(' AND ') || 'true';
}

/** Counts every source row of a range, mapped or not, independently of what is copied. */
export function countRange(ctx: Context, range: Range): string {
  return `
    SELECT count(*)::text AS n
    FROM ${ctx.relations.userSettings} AS us
    WHERE ${inRange(range)}`;
}

/**
 * The four targets of a range. Every row with a non-empty key is loaded as mapped; of rows that share a key all but
 * one are parked by the recompute pass of build, once the newest snapshot is passed (DESIGN 5.2).
 */
export function targetTransfers(ctx: Context, range: Range, agreed: CopyFormat): Transfer[] {
  return TARGETS.map((t) => {
    const format = cheapest(t, agreed);
    return {
      table: t.table,
      out: `COPY (
      SELECT ${forwardList(t)}
      FROM ${ctx.relations.userSettings} AS us
      WHERE ${inRange(range)} AND ${MAPPABLE}
    ) TO STDOUT (FORMAT ${format})`,
      into: `COPY ${relationOf(ctx.relations, t.table)} (${targetNames(t)}) FROM STDIN (FORMAT ${format})`,
    };
  });
}

/**
 * Rows that hold nothing but numbers and short constants are smaller as text: measured, both servers together spend a
 * third less on `org_user` and the same on `org`. Where columns of the source are copied, binary is far cheaper.
 */
function cheapest(t: Target, agreed: CopyFormat): CopyFormat {
  return t.columns.some((c) => c.kind === 'fact') ? agreed : 'text';
}

/** The rows of a range that have no image, whole, with the reason. */
export function parkedTransfer(ctx: Context, range: Range, format: CopyFormat): Transfer {
  return {
    table: 'parked',
    out: `COPY (
      SELECT ${SOURCE_LIST}, ${PARK_REASON}
      FROM ${ctx.relations.userSettings} AS us
      WHERE ${inRange(range)} AND ${UNMAPPABLE}
    ) TO STDOUT (FORMAT ${format})`,
    into: `COPY ${ctx.relations.parked} (${SOURCE_NAMES}, "reason") FROM STDIN (FORMAT ${format})`,
  };
}

/** Declared types by column of every relation a COPY leaves or enters; see `format.ts`. */
export function declaredTypes(ctx: Context): {
  readonly source: Readonly<Record<string, string>>;
  readonly targets: readonly { relation: string; types: Readonly<Record<string, string>> }[];
} {
  const source = Object.fromEntries(SOURCE_COLUMNS.map((c) => [c.name, c.type]));
  const typeOfSql = new Map(SOURCE_COLUMNS.map((c) => [`us.${ident(c.name)}`, c.type]));
  const targets = TARGETS.map((t) => ({
    relation: relationOf(ctx.relations, t.table),
    types: Object.fromEntries(
      t.columns.flatMap((c) => {
        const type = typeOfSql.get(c.sql);
        return type === undefined ? [] : [[c.name, type]];
      }),
    ),
  }));
  return { source, targets };
}

import { columnsOf, SOURCE_COLUMNS, type SourceColumn } from '../../src/mapping/columns.ts';
import { ident, literal } from '../../src/mapping/identifier.ts';
import { PARK_REASON } from '../../src/mapping/sql.ts';
import { ADMIN_ROLE_ID, inverseOf, MEMBER_STATUS } from '../../src/mapping/target.ts';
import type { Hash, Hashed } from './hash.ts';

/** The parts of one source row's image on green that are compared, each with a digest of its own. */
export type Part = 'org' | 'user' | 'org_user' | 'settings' | 'parked';
export const PARTS: readonly Part[] = ['org', 'user', 'org_user', 'settings', 'parked'];

/**
 * How green is read.
 * `whole`: before the first decision every row of the org tables is ours, so each table is ranged by its own key,
 * without a join, and what nobody expects is `extra`.
 * `own`: afterwards each user's own rows are found through the link, and rows that are not ours are left out (I8).
 */
export type Reading = 'whole' | 'own';

/** One compared column: over `us` on blue, and over `u`, `s`, `o`, `m`, `p` on green. */
export interface PartColumn {
  readonly name: string;
  /** Its name on `user_settings`; null for a constant, which has none. */
  readonly source: string | null;
  readonly blue: Hashed;
  readonly green: Hashed;
}

/** A column whose value follows from the key alone: SQL that is true on green where the rule holds. */
export interface PartConstant {
  readonly name: string;
  readonly holds: string;
}

/** The row's key on each side's relation. */
export const BLUE_KEY = 'us."id"';
export const GREEN_KEY: Readonly<Record<Part, string>> = {
  org: 'o."id"',
  user: 'u."id"',
  org_user: 'm."user_id"',
  settings: 's."id"',
  parked: 'p."id"',
};

const fact = (c: SourceColumn, green: string): PartColumn => ({
  name: c.as,
  source: c.name,
  blue: { sql: `us.${ident(c.name)}`, type: c.type },
  green: { sql: green, type: c.type },
});

/** @returns the compared columns of a part that carry facts of the source row. */
export function factsOf(part: Part, reading: Reading): readonly PartColumn[] {
  switch (part) {
    case 'org':
    case 'org_user':
      return [];
    case 'user':
      return columnsOf('user').map((c) => fact(c, `u.${ident(c.as)}`));
    case 'settings':
      // Green's application may have dropped a settings row: the inverse says what blue holds then.
      return columnsOf('settings').map((c) => fact(c, reading === 'own' ? inverseOf(c) : `s.${ident(c.as)}`));
    case 'parked':
      return [
        ...SOURCE_COLUMNS.filter((c) => c.home !== 'key').map((c) => ({
          ...fact(c, `p.${ident(c.name)}`),
          name: c.name,
        })),
        {
          name: 'reason',
          source: null,
          blue: { sql: PARK_REASON, type: 'text' },
          green: { sql: 'p."reason"', type: 'text' },
        },
      ];
  }
}

const isNull = (alias: string, name: string): PartConstant => ({
  name,
  holds: `${alias}.${ident(name)} IS NULL`,
});

/** @returns the rules a part's other columns follow on green (MAPPING, "constants"). */
export function constantsOf(part: Part, reading: Reading): readonly PartConstant[] {
  switch (part) {
    case 'org':
      return [
        { name: 'name', holds: `o."name" = 'user_' || o."id" || '_org'` },
        isNull('o', 'contact_name'),
        isNull('o', 'contact_email'),
        isNull('o', 'conversation_expiration'),
      ];
    case 'user':
      return [isNull('u', 'role_id')];
    case 'org_user':
      return [
        { name: 'org_id', holds: `m."org_id" = m."user_id"` },
        { name: 'role_id', holds: `m."role_id" = ${ADMIN_ROLE_ID}` },
        { name: 'status', holds: `m."status" IS NOT DISTINCT FROM ${literal(MEMBER_STATUS)}` },
      ];
    case 'settings':
      return [
        {
          name: 'org_id',
          holds:
            reading === 'own'
              ? `(s."id" IS NULL OR s."org_id" IS NOT DISTINCT FROM s."id")`
              : `s."org_id" IS NOT DISTINCT FROM s."id"`,
        },
        isNull('s', 'user_id'),
      ];
    case 'parked':
      return [];
  }
}

/** @returns SQL that is true where all of a part's rules hold; a missing row of a left join fails one of them. */
export function rulesHold(part: Part, reading: Reading): string {
  const rules = constantsOf(part, reading).map((c) => c.holds);
  return rules.length === 0 ? 'true' : `(${rules.join(' AND ')})`;
}

const key = (sql: string): Hashed => ({ sql, type: 'integer' });

/** @returns the hash of a part as the source row demands it, over `us`. */
export function blueHash(hash: Hash, part: Part): string {
  return hash.ofRow([key(BLUE_KEY), ...factsOf(part, 'whole').map((c) => c.blue)], '0');
}

/** @returns the hash of a part as green has it: equal to blue's when the facts are equal and `holds` is true. */
export function greenHash(hash: Hash, part: Part, reading: Reading, keySql: string, holds: string): string {
  const seed = holds === 'true' ? '0' : `CASE WHEN ${holds} THEN 0 ELSE 1 END`;
  return hash.ofRow([key(keySql), ...factsOf(part, reading).map((c) => c.green)], seed);
}

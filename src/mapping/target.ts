import { columnsOf, SOURCE_COLUMNS, type SourceColumn } from './columns.ts';
import { ident, literal } from './identifier.ts';

/**
 * The forward image: how a mapped row `us` of `user_settings` becomes rows of the org model.
 * `fact` columns come from one source column, `identity` ones follow from `us.id`, `constant` ones are the same
 * rule for every row and are written on insert only once green has served (DESIGN 8).
 */
export interface TargetColumn {
  readonly name: string;
  readonly kind: 'identity' | 'fact' | 'constant';
  /** SQL over the relation `us`. */
  readonly sql: string;
}

export type TargetName = 'org' | 'user' | 'org_user' | 'settings';

export interface Target {
  readonly table: TargetName;
  readonly columns: readonly TargetColumn[];
}

/** The seeded role of every mapped user in the organisation of their own. */
export const ADMIN_ROLE_ID = 1;
export const MEMBER_STATUS = 'active';

const identity = (name: string): TargetColumn => ({ name, kind: 'identity', sql: 'us."id"' });
const constant = (name: string, sql: string): TargetColumn => ({ name, kind: 'constant', sql });
const fact = (c: SourceColumn): TargetColumn => ({ name: c.as, kind: 'fact', sql: `us.${ident(c.name)}` });

/** In the order in which foreign keys allow them to be written; deletes go the other way. */
export const TARGETS: readonly Target[] = [
  { table: 'org', columns: [identity('id'), constant('name', `'user_' || us."id" || '_org'`)] },
  { table: 'user', columns: [identity('id'), ...columnsOf('user').map(fact)] },
  {
    table: 'org_user',
    columns: [
      identity('org_id'),
      identity('user_id'),
      constant('role_id', `${ADMIN_ROLE_ID}`),
      constant('status', `${literal(MEMBER_STATUS)}::character varying`),
    ],
  },
  { table: 'settings', columns: [identity('id'), identity('org_id'), ...columnsOf('settings').map(fact)] },
];

/** @returns the target of that name; every name of the union has one. */
export function target(table: TargetName): Target {
  const found = TARGETS.find((t) => t.table === table);
  if (!found) throw new Error(`no target ${table}`);
  return found;
}

/**
 * The inverse: the select list that rebuilds a `user_settings` row, in the order of SOURCE_COLUMNS,
 * over `u` (the user's row) and `s` (the settings row that is the user's own).
 */
export function inverseList(): string {
  return SOURCE_COLUMNS.map((c) => `${inverseOf(c)} AS ${ident(c.name)}`).join(', ');
}

/** @returns one column of the inverse, over `u` and `s`. */
export function inverseOf(c: SourceColumn): string {
  if (c.home === 'key') return 'u."id"';
  if (c.home === 'user') return `u.${ident(c.as)}`;
  // A user of the org model may have lost the settings row of their own: the old table's default stands in for a
  // column that cannot be NULL there.
  return c.notNull && c.default !== undefined
    ? `coalesce(s.${ident(c.as)}, ${c.default})`
    : `s.${ident(c.as)}`;
}

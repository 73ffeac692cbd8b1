import { KEY_COLUMN, SOURCE_COLUMNS } from './columns.ts';
import { ident } from './identifier.ts';
import { inverseList, type Target } from './target.ts';

/** Quoted, qualified names of every relation the mapping speaks of. */
export interface Relations {
  readonly userSettings: string;
  readonly role: string;
  readonly org: string;
  readonly user: string;
  readonly orgUser: string;
  readonly settings: string;
  /** `orchestrator.parked`: the 27 source columns and `reason`. */
  readonly parked: string;
  /** `orchestrator.link`: which org and settings row are a user's own; absent means identity. */
  readonly link: string;
}

/** @returns the relation of a target table. */
export function relationOf(r: Relations, table: Target['table']): string {
  return { org: r.org, user: r.user, org_user: r.orgUser, settings: r.settings }[table];
}

/** A row of `us` whose key can name a user; of rows that share a key only one is mapped. */
export const MAPPABLE = `us.${ident(KEY_COLUMN)} <> ''`;

/** A row of `us` that is parked whatever other rows hold. */
export const UNMAPPABLE = `(us.${ident(KEY_COLUMN)} IS NULL OR us.${ident(KEY_COLUMN)} = '')`;

/** Why a row of `us` that is not mapped is parked. */
export const PARK_REASON = `CASE WHEN us.${ident(KEY_COLUMN)} IS NULL THEN 'null_key' WHEN us.${ident(KEY_COLUMN)} = '' THEN 'empty_key' ELSE 'duplicate' END`;

/** `us."id", us."keycloak_user_id", …`: the whole source row in declared order. */
export const SOURCE_LIST = SOURCE_COLUMNS.map((c) => `us.${ident(c.name)}`).join(', ');

/** `"id", "keycloak_user_id", …`: the declared column names, for column lists of INSERT and COPY. */
export const SOURCE_NAMES = SOURCE_COLUMNS.map((c) => ident(c.name)).join(', ');

/** @returns `"id", "org_id", …`: the columns a target's forward image fills. */
export function targetNames(t: Target): string {
  return t.columns.map((c) => ident(c.name)).join(', ');
}

/** @returns the forward select list of a target over `us`, in the order of `targetNames`. */
export function forwardList(t: Target): string {
  return t.columns.map((c) => `${c.sql} AS ${ident(c.name)}`).join(', ');
}

/**
 * The relation `us` over text arrays, one parameter a column in declared order: `$first`, `$first + 1`, ….
 * What pgoutput printed is what PostgreSQL reads; no value is parsed in between.
 */
export function usFromText(first = 1): string {
  const arrays = SOURCE_COLUMNS.map((_, i) => `$${first + i}::text[]`).join(', ');
  const casts = SOURCE_COLUMNS.map((c) => `t.${ident(c.name)}::${c.type} AS ${ident(c.name)}`).join(', ');
  return `(SELECT ${casts} FROM unnest(${arrays}) AS t(${SOURCE_NAMES})) AS us`;
}

/** @returns the FROM clause under which `inverseList` rebuilds source rows: `u`, `l` and `s`. */
export function inverseFrom(r: Relations): string {
  return `${r.user} AS u
    LEFT JOIN ${r.link} AS l ON l.k = u."id"
    LEFT JOIN ${r.settings} AS s ON s."id" = CASE WHEN l.k IS NULL THEN u."id" ELSE l.settings_id END`;
}

/** @returns the whole source rows of the users that `where` (over `u`, `l`, `s`) picks. */
export function inverseQuery(r: Relations, where: string): string {
  return `SELECT ${inverseList()} FROM ${inverseFrom(r)} WHERE ${where}`;
}

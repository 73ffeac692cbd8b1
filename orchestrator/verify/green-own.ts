import type { Relations } from '../../src/mapping/sql.ts';
import type { Hash } from './hash.ts';
import { constantsOf, factsOf, GREEN_KEY, greenHash, PARTS, type Part, rulesHold } from './image.ts';
import { type Scope, scopeSql } from './scope.ts';

/**
 * Green's side once green has served: each user's own rows, found through the link; rows that are not ours do not
 * appear. Users of the link (born on green) are looked up one by one, all others by ranges of the same id.
 *
 * Parameters: the link's rows as three arrays, then for org, user, org_user and settings the users whose constants
 * green has changed; the scope's follow. Constants are ours to compare only where we wrote them: not for users of the
 * link, not where green has changed them, and not at all while green serves (DESIGN 8).
 */
const FIRST = 8;
const DIVERGED: Readonly<Record<Exclude<Part, 'parked'>, string>> = {
  org: '$4',
  user: '$5',
  org_user: '$6',
  settings: '$7',
};

/** Gives every parameter its type, used or not. */
const GIVEN = `
    given AS (
      SELECT $1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[]
    )`;

type Own = Exclude<Part, 'parked'>;
const OWN = PARTS.filter((p): p is Own => p !== 'parked');

/** The two branches, each with one row a user; `select` says what of it. */
function users(
  r: Relations,
  kind: Scope['kind'],
  select: (part: Own, linked: boolean) => string,
  parts: readonly Own[],
): string {
  const list = (linked: boolean) => parts.map((part) => `${select(part, linked)} AS "${part}"`).join(', ');
  const inScope = (column: string) => scopeSql(kind, column, FIRST);
  return `
      SELECT u."id" AS key, ${list(false)}
      FROM ${r.user} AS u
      LEFT JOIN ${r.settings} AS s ON s."id" = u."id" AND ${inScope('s."id"')}
      LEFT JOIN ${r.org} AS o ON o."id" = u."id" AND ${inScope('o."id"')}
      LEFT JOIN ${r.orgUser} AS m ON m."org_id" = u."id" AND m."user_id" = u."id" AND ${inScope('m."user_id"')}
      WHERE ${inScope('u."id"')} AND u."id" <> ALL ($1::integer[])
      UNION ALL
      SELECT u."id" AS key, ${list(true)}
      FROM unnest($1::integer[], $2::integer[], $3::integer[]) AS l(k, org_id, settings_id)
      JOIN ${r.user} AS u ON u."id" = l.k
      LEFT JOIN ${r.settings} AS s ON s."id" = l.settings_id
      WHERE ${inScope('l.k')}`;
}

function holds(part: Own, linked: boolean, constants: boolean): string {
  if (!constants || linked) return 'true';
  return `(${rulesHold(part, 'own')} OR u."id" = ANY (${DIVERGED[part]}::integer[]))`;
}

const hashOf =
  (hash: Hash, constants: boolean) =>
  (part: Own, linked: boolean): string =>
    greenHash(hash, part, 'own', 'u."id"', holds(part, linked, constants));

const parkedHash = (hash: Hash): string => greenHash(hash, 'parked', 'own', GREEN_KEY.parked, 'true');

/** @returns the digest of a scope: one row, `count:xor` of every part as text. */
export function ownDigestSql(r: Relations, hash: Hash, kind: Scope['kind'], constants: boolean): string {
  return `
    WITH ${GIVEN},
    own AS (${users(r, kind, hashOf(hash, constants), OWN)})
    SELECT ${OWN.map((p) => `a."${p}"`).join(', ')}, b.parked_digest
    FROM (
      SELECT ${OWN.map((p) => `count(*)::text || ':' || coalesce(bit_xor("${p}"), 0) AS "${p}"`).join(', ')}
      FROM own) AS a,
     (SELECT count(*)::text || ':' || coalesce(bit_xor(${parkedHash(hash)}), 0) AS parked_digest
      FROM ${r.parked} AS p
      WHERE ${scopeSql(kind, GREEN_KEY.parked, FIRST)}) AS b`;
}

/** @returns `part, key, hash` of every row of a scope, for the parts named. */
export function ownRowsSql(
  r: Relations,
  hash: Hash,
  kind: Scope['kind'],
  constants: boolean,
  parts: readonly Part[],
): string {
  const own = OWN.filter((p) => parts.includes(p));
  const selects: string[] = own.map((p) => `SELECT '${p}' AS part, key, "${p}"::text AS hash FROM own`);
  if (parts.includes('parked'))
    selects.push(`
      SELECT 'parked' AS part, ${GREEN_KEY.parked} AS key, (${parkedHash(hash)})::text AS hash
      FROM ${r.parked} AS p
      WHERE ${scopeSql(kind, GREEN_KEY.parked, FIRST)}`);
  const with_ =
    own.length === 0 ? GIVEN : `${GIVEN}, own AS (${users(r, kind, hashOf(hash, constants), own)})`;
  return `WITH ${with_}\n${selects.join('\nUNION ALL\n')}`;
}

/** Stands for a constant of a row that is not there. */
export const ABSENT = 'absent';

/** @returns `key, hashes` of one part's rows: a hash a fact, then `ok`, `broken` or `absent` a constant. */
export function ownColumnsSql(r: Relations, hash: Hash, part: Part, constants: boolean): string {
  const array = (own: Own, linked: boolean): string => {
    const kept = constants && !linked;
    const hashes = [
      ...factsOf(own, 'own').map((c) => `(${hash.ofValue(c.green)})::text`),
      ...constantsOf(own, 'own').map((c) =>
        kept
          ? `CASE WHEN u."id" = ANY (${DIVERGED[own]}::integer[]) THEN 'ok'
                  WHEN ${GREEN_KEY[own]} IS NULL THEN '${ABSENT}'
                  WHEN ${c.holds} THEN 'ok'
                  ELSE 'broken' END`
          : `'ok'`,
      ),
    ];
    return `ARRAY[${hashes.join(', ')}]::text[]`;
  };
  if (part === 'parked')
    return `
    WITH ${GIVEN}
    SELECT ${GREEN_KEY.parked} AS key,
           ARRAY[${factsOf('parked', 'own')
             .map((c) => `(${hash.ofValue(c.green)})::text`)
             .join(', ')}]::text[] AS hashes
    FROM ${r.parked} AS p
    WHERE ${scopeSql('keys', GREEN_KEY.parked, FIRST)}`;
  return `
    WITH ${GIVEN}, own AS (${users(r, 'keys', array, [part])})
    SELECT key, "${part}" AS hashes FROM own`;
}

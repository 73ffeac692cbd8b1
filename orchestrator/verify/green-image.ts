import type { Relations } from '../../src/mapping/sql.ts';
import type { Hash } from './hash.ts';
import { constantsOf, factsOf, GREEN_KEY, greenHash, PARTS, type Part, rulesHold } from './image.ts';
import { type Scope, scopeSql } from './scope.ts';

/**
 * Green's side of the comparison while every row of the org tables is ours (generation 0): each table is ranged by
 * its own key, without a join. The scope's parameters are the only ones.
 */
const FIRST = 1;

const relationOf = (r: Relations, part: Part): string =>
  ({
    org: `${r.org} AS o`,
    user: `${r.user} AS u`,
    org_user: `${r.orgUser} AS m`,
    settings: `${r.settings} AS s`,
    parked: `${r.parked} AS p`,
  })[part];

const hashOf = (hash: Hash, part: Part): string =>
  greenHash(hash, part, 'whole', GREEN_KEY[part], rulesHold(part, 'whole'));

/** @returns the digest of a scope: one row, `count:xor` of every part as text. */
export function wholeDigestSql(r: Relations, hash: Hash, kind: Scope['kind']): string {
  const digest = (part: Part) => `
      (SELECT count(*)::text || ':' || coalesce(bit_xor(${hashOf(hash, part)}), 0)
       FROM ${relationOf(r, part)}
       WHERE ${scopeSql(kind, GREEN_KEY[part], FIRST)}) AS ${part === 'parked' ? 'parked_digest' : `"${part}"`}`;
  return `SELECT ${PARTS.map(digest).join(',')}`;
}

/** @returns `part, key, hash` of every row of a scope, for the parts named; a membership's key is its user. */
export function wholeRowsSql(r: Relations, hash: Hash, kind: Scope['kind'], parts: readonly Part[]): string {
  return parts
    .map(
      (part) => `
        SELECT '${part}' AS part, ${GREEN_KEY[part]} AS key, (${hashOf(hash, part)})::text AS hash
        FROM ${relationOf(r, part)}
        WHERE ${scopeSql(kind, GREEN_KEY[part], FIRST)}`,
    )
    .join('\n        UNION ALL');
}

/** @returns `key, hashes` of one part's rows: a hash a fact, then `ok` or `broken` a constant. */
export function wholeColumnsSql(r: Relations, hash: Hash, part: Part): string {
  const hashes = [
    ...factsOf(part, 'whole').map((c) => `(${hash.ofValue(c.green)})::text`),
    ...constantsOf(part, 'whole').map((c) => `CASE WHEN ${c.holds} THEN 'ok' ELSE 'broken' END`),
  ];
  return `
    SELECT ${GREEN_KEY[part]} AS key, ARRAY[${hashes.join(', ')}]::text[] AS hashes
    FROM ${relationOf(r, part)}
    WHERE ${scopeSql('keys', GREEN_KEY[part], FIRST)}`;
}

import type { Relations } from '../../src/mapping/sql.ts';
import type { Hash } from './hash.ts';
import { BLUE_KEY, blueHash, factsOf, type Part } from './image.ts';
import { type Scope, scopeSql } from './scope.ts';

/**
 * Blue's side of the comparison: what each source row demands of green. `$1` is always the ids that green holds as
 * parked, for green is the truth of who is parked; the scope's parameters follow.
 */
const FIRST = 2;

const mapped = (kind: Scope['kind']) =>
  `${scopeSql(kind, BLUE_KEY, FIRST)} AND ${BLUE_KEY} <> ALL ($1::integer[])`;
const parked = (kind: Scope['kind']) =>
  `${scopeSql(kind, BLUE_KEY, FIRST)} AND ${BLUE_KEY} = ANY ($1::integer[])`;

/** @returns the digest of a scope: one row; every value is text. One scan of the table. */
export function blueDigestSql(r: Relations, hash: Hash, kind: Scope['kind']): string {
  return `
    SELECT m.rows::text AS mapped, p.rows::text AS parked,
           m.rows::text || ':' || m."user" AS "user",
           m.rows::text || ':' || m.settings AS settings,
           m.rows::text || ':' || m.org AS org,
           m.rows::text || ':' || m.org_user AS org_user,
           p.rows::text || ':' || p.parked AS parked_digest
    FROM (
      SELECT count(*) AS rows,
             coalesce(bit_xor(${blueHash(hash, 'user')}), 0) AS "user",
             coalesce(bit_xor(${blueHash(hash, 'settings')}), 0) AS settings,
             coalesce(bit_xor(${blueHash(hash, 'org')}), 0) AS org,
             coalesce(bit_xor(${blueHash(hash, 'org_user')}), 0) AS org_user
      FROM ${r.userSettings} AS us
      WHERE ${mapped(kind)}) AS m,
     (SELECT count(*) AS rows, coalesce(bit_xor(${blueHash(hash, 'parked')}), 0) AS parked
      FROM ${r.userSettings} AS us
      WHERE ${parked(kind)}) AS p`;
}

/** @returns `part, key, hash` of every row of a scope, for the parts named. */
export function blueRowsSql(r: Relations, hash: Hash, kind: Scope['kind'], parts: readonly Part[]): string {
  return parts
    .map(
      (part) => `
        SELECT '${part}' AS part, ${BLUE_KEY} AS key, (${blueHash(hash, part)})::text AS hash
        FROM ${r.userSettings} AS us
        WHERE ${part === 'parked' ? parked(kind) : mapped(kind)}`,
    )
    .join('\n        UNION ALL');
}

/** @returns `key, hashes` of one part's rows, a hash a column in the order of facts, then constants (`ok`). */
export function blueColumnsSql(r: Relations, hash: Hash, part: Part, constants: number): string {
  const hashes = [
    ...factsOf(part, 'whole').map((c) => `(${hash.ofValue(c.blue)})::text`),
    ...Array.from({ length: constants }, () => `'ok'`),
  ];
  return `
    SELECT ${BLUE_KEY} AS key, ARRAY[${hashes.join(', ')}]::text[] AS hashes
    FROM ${r.userSettings} AS us
    WHERE ${scopeSql('keys', BLUE_KEY, 1)}`;
}

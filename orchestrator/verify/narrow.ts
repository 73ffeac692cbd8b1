import { blueColumnsSql, blueRowsSql } from './blue-image.ts';
import { type Comparison, comparesConstants, greenValues, type Readers } from './comparison.ts';
import { blueValues, type Exceptions, readExceptions } from './exceptions.ts';
import { wholeColumnsSql, wholeRowsSql } from './green-image.ts';
import { ABSENT, ownColumnsSql, ownRowsSql } from './green-own.ts';
import { constantsOf, factsOf, type Part } from './image.ts';
import type { MismatchKind } from './mismatch.ts';
import { type Scope, scopeValues } from './scope.ts';

/** A row that is not what the other side says, before its columns are known. */
export interface Difference {
  readonly part: Part;
  readonly key: number;
  /** Of green's rows as blue's image; turned round when green serves. */
  readonly kind: MismatchKind;
  /** Both sides' hashes of the row: a difference that stays the same is no race with a writer. */
  readonly evidence: string;
}

interface HashedRow {
  readonly part: Part;
  readonly key: number;
  readonly hash: string;
}

/** Narrows the parts of a scope whose digests differ to their rows. */
export async function differingRows(
  c: Comparison,
  readers: Readers,
  exceptions: Exceptions,
  scope: Scope,
  parts: readonly Part[],
): Promise<Difference[]> {
  const greenSql =
    c.reading === 'whole'
      ? wholeRowsSql(c.relations, c.hash, scope.kind, parts)
      : ownRowsSql(c.relations, c.hash, scope.kind, comparesConstants(c), parts);
  const [blue, green] = await Promise.all([
    readers.blue.query<HashedRow>(blueRowsSql(c.relations, c.hash, scope.kind, parts), [
      ...blueValues(exceptions),
      ...scopeValues(scope),
    ]),
    readers.green.query<HashedRow>(greenSql, greenValues(c, exceptions, scope)),
  ]);
  return parts.flatMap((part) => differences(part, byKey(blue.rows, part), byKey(green.rows, part)));
}

function byKey(rows: readonly HashedRow[], part: Part): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const row of rows) {
    if (row.part !== part) continue;
    const hashes = found.get(row.key);
    if (hashes === undefined) found.set(row.key, [row.hash]);
    else hashes.push(row.hash);
  }
  return found;
}

/** Pure: blue has at most one row a key; green can have more (a second membership of a user). */
export function differences(
  part: Part,
  blue: ReadonlyMap<number, readonly string[]>,
  green: ReadonlyMap<number, readonly string[]>,
): Difference[] {
  const found: Difference[] = [];
  for (const [key, [expected = '']] of blue) {
    const hashes = green.get(key) ?? [];
    const evidence = `${expected}:${[...hashes].sort().join(',')}`;
    if (hashes.length === 0) found.push({ part, key, kind: 'missing', evidence });
    else if (!hashes.includes(expected)) found.push({ part, key, kind: 'different', evidence });
    if (hashes.length > 1) found.push({ part, key, kind: 'extra', evidence });
  }
  for (const [key, hashes] of green)
    if (!blue.has(key))
      found.push({ part, key, kind: 'extra', evidence: `:${[...hashes].sort().join(',')}` });
  return found;
}

/**
 * @returns for each key of one part the columns that differ, as indexes into facts followed by constants; `absent`
 *   where a user of green has no such row at all.
 */
export async function differingColumns(
  c: Comparison,
  readers: Readers,
  part: Part,
  keys: readonly number[],
): Promise<Map<number, number[] | typeof ABSENT>> {
  const constants = constantsOf(part, c.reading).length;
  const scope: Scope = { kind: 'keys', keys };
  const exceptions = await readExceptions(readers.control, scope, c.reading === 'whole');
  const greenSql =
    c.reading === 'whole'
      ? wholeColumnsSql(c.relations, c.hash, part)
      : ownColumnsSql(c.relations, c.hash, part, comparesConstants(c));
  type Row = { key: number; hashes: (string | null)[] };
  const [blue, green] = await Promise.all([
    readers.blue.query<Row>(blueColumnsSql(c.relations, c.hash, part, constants), scopeValues(scope)),
    readers.green.query<Row>(greenSql, greenValues(c, exceptions, scope)),
  ]);
  const expected = new Map(blue.rows.map((row) => [row.key, row.hashes]));
  const found = new Map<number, number[] | typeof ABSENT>();
  for (const { key, hashes } of green.rows) {
    const wanted = expected.get(key);
    if (wanted === undefined) continue;
    const before = found.get(key) ?? [];
    if (before === ABSENT || hashes.includes(ABSENT)) {
      found.set(key, ABSENT);
      continue;
    }
    const indexes = hashes.flatMap((hash, i) => (hash === wanted[i] ? [] : [i]));
    found.set(
      key,
      [...new Set([...before, ...indexes])].sort((x, y) => x - y),
    );
  }
  return found;
}

/** @returns the names behind the indexes of `differingColumns`: on green, and on `user_settings` where it has one. */
export function columnNames(c: Comparison, part: Part): { green: string; source: string | null }[] {
  return [
    ...factsOf(part, c.reading).map((f) => ({ green: f.name, source: f.source })),
    ...constantsOf(part, c.reading).map((f) => ({ green: f.name, source: null })),
  ];
}

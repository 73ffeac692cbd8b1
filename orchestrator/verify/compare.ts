import { PARK_REASONS, type ParkReason } from '../../src/mapping/columns.ts';
import { blueDigestSql } from './blue-image.ts';
import { type Comparison, comparesConstants, greenValues, type Readers } from './comparison.ts';
import { blueValues, type Exceptions, readExceptions } from './exceptions.ts';
import { wholeDigestSql } from './green-image.ts';
import { ownDigestSql } from './green-own.ts';
import { PARTS, type Part } from './image.ts';
import { type Difference, differingRows } from './narrow.ts';
import { type Scope, scopeValues } from './scope.ts';

export interface ScopeResult {
  /** Source rows compared. */
  readonly rows: number;
  readonly mapped: number;
  readonly parked: Readonly<Record<ParkReason, number>>;
  readonly differences: readonly Difference[];
}

interface Digests extends Readonly<Record<Exclude<Part, 'parked'>, string>> {
  readonly parked_digest: string;
}
interface BlueDigests extends Digests {
  readonly mapped: string;
  readonly parked: string;
}

const digestOf = (d: Digests, part: Part): string => (part === 'parked' ? d.parked_digest : d[part]);

/** One statement a side; both sides work at the same time. */
export async function readDigests(
  c: Comparison,
  readers: Readers,
  scope: Scope,
): Promise<{ exceptions: Exceptions; blue: BlueDigests; green: Digests }> {
  const exceptions = await readExceptions(readers.control, scope, c.reading === 'whole');
  const greenSql =
    c.reading === 'whole'
      ? wholeDigestSql(c.relations, c.hash, scope.kind)
      : ownDigestSql(c.relations, c.hash, scope.kind, comparesConstants(c));
  const [blue, green] = await Promise.all([
    readers.blue.query<BlueDigests>(blueDigestSql(c.relations, c.hash, scope.kind), [
      ...blueValues(exceptions),
      ...scopeValues(scope),
    ]),
    readers.green.query<Digests>(greenSql, greenValues(c, exceptions, scope)),
  ]);
  const b = blue.rows[0];
  const g = green.rows[0];
  if (b === undefined || g === undefined) throw new Error('an aggregate without a row');
  return { exceptions, blue: b, green: g };
}

/**
 * Compares one scope: a digest of every part, computed inside each PostgreSQL; where a part differs it is narrowed to
 * its rows.
 */
export async function compareScope(c: Comparison, readers: Readers, scope: Scope): Promise<ScopeResult> {
  const { exceptions, blue, green } = await readDigests(c, readers, scope);
  const differing = PARTS.filter((part) => digestOf(blue, part) !== digestOf(green, part));
  const counts = Object.fromEntries(
    PARK_REASONS.map((reason) => [reason, exceptions.parked.filter((p) => p.reason === reason).length]),
  ) as Record<ParkReason, number>;
  return {
    rows: Number(blue.mapped) + Number(blue.parked),
    mapped: Number(blue.mapped),
    parked: counts,
    differences: differing.length === 0 ? [] : await differingRows(c, readers, exceptions, scope, differing),
  };
}

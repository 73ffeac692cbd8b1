import type { ParkReason } from '../../src/mapping/columns.ts';
import type { ScopeResult } from './compare.ts';
import type { Difference } from './narrow.ts';

/** Differences that are listed by key; beyond that they are only counted. */
export const MOST_LISTED = 10_000;

/** What a sweep has found so far. */
export class Tally {
  rows = 0;
  mapped = 0;
  /** All of them, listed or not. */
  differing = 0;
  readonly parked: Record<ParkReason, number> = { null_key: 0, empty_key: 0, duplicate: 0 };
  readonly differences: Difference[] = [];

  add(result: ScopeResult): void {
    this.rows += result.rows;
    this.mapped += result.mapped;
    this.differing += result.differences.length;
    for (const [reason, count] of Object.entries(result.parked)) this.parked[reason as ParkReason] += count;
    this.differences.push(...result.differences.slice(0, Math.max(0, MOST_LISTED - this.differences.length)));
  }
}

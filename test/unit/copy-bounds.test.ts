import { describe, expect, it } from 'vitest';
import {
  chunkRows,
  HIGHEST_ID,
  type IdRange,
  LOWEST_ID,
  rangesFrom,
} from '../../orchestrator/copy/bounds.ts';

/** Every id belongs to exactly one range. */
function expectCover(ranges: readonly IdRange[]): void {
  expect(ranges[0]?.lower).toBe(LOWEST_ID);
  expect(ranges.at(-1)?.upper).toBe(HIGHEST_ID);
  for (const range of ranges) expect(range.upper >= range.lower).toBe(true);
  expect(ranges.slice(1).map((r) => r.lower)).toEqual(ranges.slice(0, -1).map((r) => r.upper + 1n));
}

describe('ranges of ids', () => {
  it('of an empty table are one range that holds everything', () => {
    const ranges = rangesFrom([], 0);
    expectCover(ranges);
    expect(ranges).toHaveLength(1);
  });

  it('begin at the ids that were found, and leave no hole between them', () => {
    const ranges = rangesFrom([-5n, 10n, 1_000_000n, 2_000_000_000n], 400);
    expectCover(ranges);
    expect(ranges.map((r) => r.lower)).toEqual([LOWEST_ID, 10n, 1_000_000n, 2_000_000_000n]);
    expect(ranges.map((r) => r.expectedRows)).toEqual([100, 100, 100, 100]);
  });

  it('hold the lowest and the highest id there can be', () => {
    expectCover(rangesFrom([LOWEST_ID, 0n, HIGHEST_ID], 3));
    expect(rangesFrom([LOWEST_ID, 0n, HIGHEST_ID], 3)).toHaveLength(3);
  });

  it('are not cut twice at the same id', () => {
    expectCover(rangesFrom([1n, 7n, 7n, 9n], 4));
    expect(rangesFrom([1n, 7n, 7n, 9n], 4)).toHaveLength(3);
  });
});

describe('rows of a chunk', () => {
  it('are few enough for every worker to have several, also on a small table', () => {
    expect(23_000 / chunkRows(23_000, 13e6, 2)).toBeGreaterThanOrEqual(7);
  });

  it('follow from the width of the rows', () => {
    expect(chunkRows(10_000_000, 4.7e9, 2)).toBe(50_000);
    expect(chunkRows(10_000_000, 47e9, 2)).toBeLessThan(6_000);
    expect(chunkRows(1_000, 100e9, 2)).toBe(2_000);
  });

  it('are not zero for an empty table', () => {
    expect(chunkRows(0, 0, 2)).toBeGreaterThan(0);
  });
});

import { describe, expect, it } from 'vitest';
import { walShortfall } from '../../orchestrator/copy/wal-budget.ts';

const at = (seconds: number, safeBytes: number | undefined) => ({ at: seconds * 1_000, safeBytes });

describe('the WAL a slot may still keep', () => {
  it('is too little when it runs out before the copy ends', () => {
    // 10 a second of 900: 90 seconds, and 150 are needed.
    expect(walShortfall(at(0, 1_000), at(10, 900), 150)).toBe(60);
  });

  it('is enough when it lasts longer than the copy, or does not shrink', () => {
    expect(walShortfall(at(0, 1_000), at(10, 900), 80)).toBeNull();
    expect(walShortfall(at(0, 1_000), at(10, 1_000), 1e9)).toBeNull();
  });

  it('is unknown without a limit, without an end in sight, and in the first second', () => {
    expect(walShortfall(at(0, undefined), at(10, undefined), 150)).toBeNull();
    expect(walShortfall(at(0, 1_000), at(10, 1), null)).toBeNull();
    expect(walShortfall(at(0, 1_000), at(0.5, 1), 150)).toBeNull();
  });
});

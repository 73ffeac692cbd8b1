import { describe, expect, it } from 'vitest';
import { reasonToWait } from '../../orchestrator/copy/guard.ts';

const limits = { transactionAgeMs: 60_000, retainedWalBytes: 1_000n };

describe('whether the copy waits for blue', () => {
  it.each<[string, number | undefined, bigint | undefined, unknown]>([
    ['nothing is over its limit', 60_000, 1_000n, undefined],
    ['what is unknown holds nothing up', undefined, undefined, undefined],
    ['an old transaction', 60_001, 0n, expect.stringContaining('transaction')],
    ['much WAL', 0, 1_001n, expect.stringContaining('WAL')],
  ])('%s', (_what, transactionAgeMs, retainedWalBytes, part) => {
    expect(reasonToWait(limits, { transactionAgeMs, retainedWalBytes })).toEqual(part);
  });

  it('no limit is none', () => {
    const none = { transactionAgeMs: null, retainedWalBytes: null };
    expect(reasonToWait(none, { transactionAgeMs: 1e9, retainedWalBytes: 10n ** 12n })).toBeUndefined();
  });
});

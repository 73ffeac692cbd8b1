import { describe, expect, it } from 'vitest';
import { reasonToWait } from '../../orchestrator/copy/guard.ts';

const limits = { transactionAgeMs: 60_000, retainedWalBytes: 1_000n };

describe('whether the copy waits for blue', () => {
  it.each<[string, number | undefined, bigint | undefined, string | undefined]>([
    ['nothing is over its limit', 60_000, 1_000n, undefined],
    ['what is unknown holds nothing up', undefined, undefined, undefined],
    ['an old transaction', 60_001, 0n, 'transaction'],
    ['much WAL', 0, 1_001n, 'WAL'],
  ])('%s', (_what, transactionAgeMs, retainedWalBytes, part) => {
    const reason = reasonToWait(limits, { transactionAgeMs, retainedWalBytes });
    if (part === undefined) expect(reason).toBeUndefined();
    else expect(reason).toContain(part);
  });

  it('no limit is none', () => {
    const none = { transactionAgeMs: null, retainedWalBytes: null };
    expect(reasonToWait(none, { transactionAgeMs: 1e9, retainedWalBytes: 10n ** 12n })).toBeUndefined();
  });
});

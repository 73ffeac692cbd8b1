import { describe, expect, it } from 'vitest';
import { reasonToWait } from '../../orchestrator/copy/guard.ts';

const limits = { transactionAgeMs: 60_000, retainedWalBytes: 1_000n, replicaLagBytes: 500n };

describe('whether the copy waits for blue', () => {
  it.each<[string, number | undefined, bigint | undefined, bigint | undefined, unknown]>([
    ['nothing is over its limit', 60_000, 1_000n, 500n, undefined],
    ['what is unknown holds nothing up', undefined, undefined, undefined, undefined],
    ['an old transaction', 60_001, 0n, 0n, expect.stringContaining('transaction')],
    ['much WAL', 0, 1_001n, 0n, expect.stringContaining('retains')],
    ['a replica far behind', 0, 0n, 501n, expect.stringContaining('replica')],
  ])('%s', (_what, transactionAgeMs, retainedWalBytes, replicaLagBytes, part) => {
    expect(reasonToWait(limits, { transactionAgeMs, retainedWalBytes, replicaLagBytes })).toEqual(part);
  });

  it('no limit is none', () => {
    const none = { transactionAgeMs: null, retainedWalBytes: null, replicaLagBytes: null };
    const load = { transactionAgeMs: 1e9, retainedWalBytes: 10n ** 12n, replicaLagBytes: 10n ** 12n };
    expect(reasonToWait(none, load)).toBeUndefined();
  });
});

import { describe, expect, test } from 'vitest';
import { Acknowledger } from '../../orchestrator/stream/acknowledger.ts';
import {
  assign,
  assignWithoutKeys,
  type KeyState,
  type Place,
} from '../../orchestrator/stream/assignment.ts';
import { Lag } from '../../orchestrator/stream/lag.ts';
import { wellFormed } from '../../orchestrator/stream/slot.ts';
import { judgeSource } from '../../orchestrator/stream/source-check.ts';
import { columnArrays } from '../../orchestrator/stream/text-array.ts';
import { Waiters } from '../../orchestrator/stream/waiters.ts';
import { Delta } from '../../orchestrator/verify/delta.ts';

describe('acknowledger', () => {
  test('only what is durable, never backwards, and not at every opportunity', () => {
    const a = new Acknowledger(100n, 10_000, 50);
    expect(a.due(0, false)).toBe(100n);
    expect(a.due(20, false)).toBeUndefined();
    a.durable(200n);
    expect(a.due(40, false)).toBeUndefined();
    expect(a.due(60, false)).toBe(200n);
    a.durable(150n);
    expect(a.due(200, false)).toBeUndefined();
    expect(a.due(201, true)).toBe(200n);
    expect(a.due(10_201, false)).toBe(200n);
    expect(a.acknowledged).toBe(200n);
  });
});

describe('who is mapped', () => {
  const mapped = (key: string): Place => ({ at: 'mapped', key });
  const keys = (...entries: [string, number | undefined, number | undefined][]): Map<string, KeyState> =>
    new Map(entries.map(([key, holder, heir]) => [key, { holder, heir }]));

  test('a holder that does not change keeps its key from a lower row', () => {
    const a = assign(new Map([[1, 'K']]), new Map(), keys(['K', 9, undefined]));
    expect(a).toMatchObject({ map: [], park: [1], heirs: [] });
  });

  test('a vacant key goes to the lowest of heirs and claimants', () => {
    const gone = new Map<number, string | undefined>([[5, undefined]]);
    const places = new Map([[5, mapped('K')]]);
    expect(assign(gone, places, keys(['K', 5, 7]))).toMatchObject({
      unmap: [5],
      map: [7],
      unpark: [7],
      heirs: [7],
    });
    const claimed = new Map<number, string | undefined>([
      [5, undefined],
      [6, 'K'],
      [8, 'K'],
    ]);
    expect(assign(claimed, places, keys(['K', 5, 7]))).toMatchObject({
      unmap: [5],
      map: [6],
      park: [8],
      heirs: [],
    });
  });

  test('a swap changes two keys and moves nobody', () => {
    const a = assign(
      new Map([
        [1, 'B'],
        [2, 'A'],
      ]),
      new Map([
        [1, mapped('A')],
        [2, mapped('B')],
      ]),
      keys(['A', 1, undefined], ['B', 2, undefined]),
    );
    expect(a).toEqual({ unmap: [], unpark: [], map: [], rekey: [1, 2], park: [], heirs: [] });
  });

  test('NULL and empty keys are parked, and a parked row that is deleted is only unparked', () => {
    const a = assign(
      new Map<number, string | null | undefined>([
        [1, null],
        [2, ''],
        [3, undefined],
      ]),
      new Map<number, Place>([
        [1, mapped('A')],
        [3, { at: 'parked' }],
      ]),
      keys(['A', 1, undefined]),
    );
    expect(a).toEqual({ unmap: [1], unpark: [3], map: [], rekey: [], park: [1, 2], heirs: [] });
  });

  test('while catching up every key is good', () => {
    const a = assignWithoutKeys(
      new Map<number, string | null | undefined>([
        [1, 'K'],
        [2, 'K'],
        [3, null],
      ]),
      new Map([[2, mapped('L')]]),
    );
    expect(a).toMatchObject({ map: [1], rekey: [2], park: [3], unmap: [] });
  });
});

describe('where a stream may go on (I13)', () => {
  const stored = { slot: 's', systemIdentifier: '7', timeline: 1, lsn: 100n };
  const identity = { systemIdentifier: '7', timeline: 1, flushedLsn: 200n };
  const slot = {
    name: 's',
    plugin: 'pgoutput',
    database: 'd',
    walStatus: 'reserved',
    confirmedFlushLsn: 90n,
    restartLsn: 80n,
    retainedBytes: 0n,
    safeWalBytes: undefined,
    active: false,
    activePid: null,
    lost: false,
  };
  test.each([
    ['nothing', undefined, stored, identity, slot],
    [
      'the very position',
      undefined,
      stored,
      { ...identity, flushedLsn: 100n },
      { ...slot, confirmedFlushLsn: 100n },
    ],
    ['another server', 'IDENTITY_CHANGED', stored, { ...identity, systemIdentifier: '8' }, slot],
    ['another timeline', 'IDENTITY_CHANGED', stored, { ...identity, timeline: 2 }, slot],
    ['no slot', 'SLOT_MISSING', stored, identity, null],
    ['another plugin', 'SLOT_MISSING', stored, identity, { ...slot, plugin: 'test_decoding' }],
    ['a lost slot', 'SLOT_LOST', stored, identity, { ...slot, lost: true }],
    ['a slot ahead', 'SLOT_AHEAD', stored, identity, { ...slot, confirmedFlushLsn: 101n }],
    ['a server behind', 'STORED_AHEAD', stored, { ...identity, flushedLsn: 99n }, slot],
  ])('%s: %s', (_, code, s, i, found) => {
    expect(judgeSource(s, i, found, 'd')?.code).toBe(code);
  });
});

describe('lag', () => {
  test('is unknown before the source was asked, and zero only when its position is reached', () => {
    const lag = new Lag();
    expect(lag.bytes({ applied: 5n, oldestCommitMicros: undefined })).toBeUndefined();
    expect(lag.seconds({ applied: 5n, oldestCommitMicros: undefined })).toBeUndefined();
    lag.record({ lsn: 100n, sourceMicros: 10_000_000n, at: 0 }, 40n);
    expect(lag.bytes({ applied: 40n, oldestCommitMicros: undefined })).toBe(60n);
    // Nothing arrives: the lag is the age of what was not reached.
    expect(lag.seconds({ applied: 40n, oldestCommitMicros: undefined }, 3_000)).toBe(3);
    lag.record({ lsn: 120n, sourceMicros: 12_000_000n, at: 2_000 }, 40n);
    expect(lag.seconds({ applied: 40n, oldestCommitMicros: undefined }, 3_000)).toBe(3);
    expect(lag.seconds({ applied: 120n, oldestCommitMicros: undefined }, 3_000)).toBe(0);
    expect(lag.bytes({ applied: 130n, oldestCommitMicros: undefined })).toBe(0n);
    expect(lag.seconds({ applied: 120n, oldestCommitMicros: 9_000_000n }, 3_000)).toBe(4);
    lag.forget();
    expect(lag.bytes({ applied: 130n, oldestCommitMicros: undefined })).toBeUndefined();
  });
});

describe('delta', () => {
  test('is lost until the first clean sweep, and survives a sweep that was not clean', () => {
    const d = new Delta(3);
    d.add([1]);
    expect([d.lost, d.size, d.keys()]).toEqual([true, undefined, 'lost']);
    d.beginSweep();
    d.add([2]);
    d.sweepClean();
    expect(d.keys()).toEqual(new Set([2]));
    d.beginSweep();
    d.add([3]);
    d.sweepFailed();
    expect(d.keys()).toEqual(new Set([2, 3]));
    d.beginSweep();
    d.add([4, 5]);
    expect(d.lost).toBe(true);
    d.sweepClean();
    expect(d.keys()).toEqual(new Set([4, 5]));
    d.lose();
    expect(d.lost).toBe(true);
  });
});

describe('waiters', () => {
  test('are told of what is durable, once, and refused at the end', async () => {
    const waiters = new Waiters();
    const open = new AbortController();
    const message = waiters.message('m', open.signal);
    const position = waiters.position(10n, open.signal);
    const other = waiters.message('n', open.signal);
    const aborted = waiters.message('m', AbortSignal.abort(new Error('too late')));
    await expect(aborted).rejects.toThrow('too late');
    expect(waiters.awaited).toBe(10n);
    waiters.durable(9n, [{ content: 'm', endLsn: 8n }]);
    await expect(message).resolves.toBe(8n);
    expect(waiters.awaited).toBe(10n);
    waiters.durable(10n, []);
    await position;
    expect(waiters.awaited).toBeUndefined();
    waiters.end(new Error('over'));
    await expect(other).rejects.toThrow('over');
  });
});

test('array literals keep every character, and leave out NULLs at the end', () => {
  expect(
    columnArrays(
      [
        ['a"b', null, 'x'],
        ['c\\d', undefined, null],
        ['{,} NULL', null, ''],
      ],
      3,
    ),
  ).toEqual(['{"a\\"b","c\\\\d","{,} NULL"}', '{}', '{"x",NULL,""}']);
});

test('a snapshot of logical decoding may print with its ends exchanged', () => {
  expect(wellFormed('3466:3457:')).toBe('3466:3466:');
  expect(wellFormed('10:20:11,12')).toBe('10:20:11,12');
});

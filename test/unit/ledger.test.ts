import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { digestOf, type LedgerEvent } from '../../orchestrator/rehearsal/ledger/event.ts';
import { foldFacts } from '../../orchestrator/rehearsal/ledger/facts.ts';
import {
  feltFreeze,
  latency,
  percentiles,
  readTimeline,
  servingChanges,
  windowBetween,
} from '../../orchestrator/rehearsal/ledger/timing.ts';
import { Ledger, readLedger } from '../../orchestrator/rehearsal/ledger.ts';

const folder = mkdtempSync(join(tmpdir(), 'ledger-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function read(path: string): Promise<LedgerEvent[]> {
  const events: LedgerEvent[] = [];
  for await (const event of readLedger(path)) events.push(event);
  return events;
}

const sent = (op: string, user: number, value: string | null) =>
  ({
    op,
    attempt: 1,
    side: 'blue',
    kind: 'save',
    subject: { user },
    writes: { email: digestOf(value) },
    deletes: false,
  }) as const;

describe('the ledger’s file', () => {
  it('holds every event before the next line of code runs, and no values', async () => {
    const path = join(folder, 'a.jsonl');
    const ledger = new Ledger(path);
    ledger.sent(sent('1', 7, 'secret-value'));
    expect(readFileSync(path, 'utf8')).toMatch(/"event":"sent".*\n$/);
    expect(readFileSync(path, 'utf8')).not.toContain('secret-value');
    ledger.acknowledged('1', 'blue');
    ledger.mark('end');
    ledger.close();
    const events = await read(path);
    expect(events.map((e) => [e.seq, e.event])).toEqual([
      [1, 'sent'],
      [2, 'acknowledged'],
      [3, 'mark'],
    ]);
    expect((events[1]?.mono ?? 0) - (events[0]?.mono ?? 0)).toBeGreaterThanOrEqual(0);
  });

  it('forgives a last line that was cut off, and no other', async () => {
    const path = join(folder, 'b.jsonl');
    const ledger = new Ledger(path);
    ledger.sent(sent('1', 7, 'x'));
    appendFileSync(path, '{"seq":2,"event":"ackn');
    expect(await read(path)).toHaveLength(1);
    appendFileSync(path, '\n{}\n');
    await expect(read(path)).rejects.toThrow(SyntaxError);
  });
});

/** Events from terse notes: `at`, what, op, side, and what belongs to it. */
type Note = [at: number, event: string, op: string, side?: 'blue' | 'green', extra?: object];
const events = (...notes: Note[]): LedgerEvent[] =>
  notes.map(
    ([mono, event, op, side = 'blue', extra = {}], n) =>
      ({
        seq: n + 1,
        mono,
        wall: mono,
        event,
        ...(event === 'mark' ? { name: op } : { op, side }),
        ...(event === 'sent'
          ? { attempt: 1, kind: 'save', subject: { user: 1 }, writes: {}, deletes: false }
          : {}),
        ...(event === 'failed' ? { code: '25006' } : {}),
        ...extra,
      }) as LedgerEvent,
  );
const writes = (value: string, user = 1) => ({ subject: { user }, writes: { email: digestOf(value) } });

describe('what the ledger promises', () => {
  it('keeps the last acknowledged value, and unknown ones sent after it', async () => {
    const facts = await foldFacts(
      events(
        [0, 'sent', 'a', 'blue', writes('v1')],
        [1, 'acknowledged', 'a'],
        [2, 'sent', 'b', 'blue', writes('v2')],
        [3, 'failed', 'b'],
        [4, 'sent', 'b', 'green', writes('v2')],
        [5, 'acknowledged', 'b', 'green'],
        [6, 'sent', 'c', 'green', writes('v3')],
        [7, 'unknown', 'c', 'green', { code: '57P01' }],
        [8, 'sent', 'd', 'green', writes('v9', 2)],
        [9, 'failed', 'd', 'green'],
        [10, 'sent', 'e', 'green', writes('v4', 3)],
      ),
    );
    expect(facts).toMatchObject({ acknowledged: 2, unknown: 1, open: 1 });
    const email = facts.users.get(1)?.columns.get('email');
    expect(email?.acknowledged).toBe(digestOf('v2'));
    expect([...(email?.maybe ?? [])]).toEqual([digestOf('v3')]);
    expect(facts.users.has(2)).toBe(false);
    expect(facts.users.get(3)?.columns.get('email')).toEqual({
      acknowledged: undefined,
      maybe: new Set([digestOf('v4')]),
    });
  });

  it('knows a user who signed up by the id that came back', async () => {
    const facts = await foldFacts(
      events(
        [0, 'sent', 'a', 'green', { subject: { signUp: true }, writes: { email: digestOf('x') } }],
        [1, 'acknowledged', 'a', 'green', { user: 9001 }],
        [2, 'sent', 'b', 'green', { subject: { signUp: true }, writes: { email: digestOf('y') } }],
        [3, 'unknown', 'b', 'green', { code: 'ECONNRESET' }],
        [4, 'sent', 'c', 'green', { subject: { user: 9001 }, deletes: true }],
        [5, 'unknown', 'c', 'green', { code: 'ECONNRESET' }],
      ),
    );
    expect([...facts.users.keys()]).toEqual([9001]);
    expect(facts.users.get(9001)?.presence).toBe('either');
  });

  it('does not take an answer without a question', async () => {
    await expect(foldFacts(events([0, 'acknowledged', 'a']))).rejects.toThrow('never sent');
  });
});

describe('what clients felt', () => {
  const handover = events(
    [0, 'sent', 'a'],
    [2, 'acknowledged', 'a'],
    [10, 'mark', 'cutover'],
    [11, 'sent', 'b'],
    [12, 'acknowledged', 'b'],
    [20, 'sent', 'c'],
    [21, 'failed', 'c'],
    [26, 'sent', 'c'],
    [27, 'failed', 'c'],
    [250, 'sent', 'c', 'green'],
    [262, 'acknowledged', 'c', 'green'],
    [263, 'sent', 'd', 'green'],
    [265, 'acknowledged', 'd', 'green'],
    [300, 'mark', 'done'],
    [310, 'sent', 'e', 'green'],
    [9_000, 'acknowledged', 'e', 'green'],
  );

  it('is the longest gap without an acknowledged write inside the window', async () => {
    const timeline = await readTimeline(handover);
    const felt = feltFreeze(timeline, windowBetween(timeline, 'cutover', 'done'));
    expect(felt).toEqual({
      longestGapMs: 250,
      gap: { fromMs: 12, toMs: 262 },
      longestWaitMs: 242,
      waiting: 1,
    });
    expect(timeline.failedByCode.get('25006')).toBe(2);
  });

  it('reaches to the end of a window in which nothing was acknowledged', async () => {
    const timeline = await readTimeline(handover);
    expect(feltFreeze(timeline, { fromMs: 400, toMs: 1_400 })).toMatchObject({
      longestGapMs: 1_000,
      waiting: 1,
    });
  });

  it('counts latency from the first try', async () => {
    const timeline = await readTimeline(handover);
    expect(latency(timeline, { fromMs: 0, toMs: 300 })).toMatchObject({ count: 4, min: 1, max: 242, p50: 2 });
    expect(latency(timeline, { fromMs: 13, toMs: 14 })).toBeUndefined();
    expect(percentiles(Array.from({ length: 100 }, (_, n) => n + 1))).toMatchObject({
      p50: 50,
      p95: 95,
      p99: 99,
      max: 100,
    });
  });

  it('proves no more changes of side than there were', async () => {
    expect(servingChanges(await readTimeline(handover))).toBe(1);
    // Both sides said yes to writes that did not overlap: two writable sides.
    const split = events(
      [0, 'sent', 'a'],
      [1, 'acknowledged', 'a'],
      [2, 'sent', 'b', 'green'],
      [3, 'acknowledged', 'b', 'green'],
      [4, 'sent', 'c'],
      [5, 'acknowledged', 'c'],
      [6, 'sent', 'd', 'green'],
      [7, 'acknowledged', 'd', 'green'],
    );
    expect(servingChanges(await readTimeline(split))).toBe(3);
    // Overlapping answers prove nothing: one handover may lie between them.
    const overlap = events(
      [0, 'sent', 'a'],
      [1, 'sent', 'b', 'green'],
      [8, 'acknowledged', 'a'],
      [9, 'acknowledged', 'b', 'green'],
    );
    expect(servingChanges(await readTimeline(overlap))).toBe(0);
  });
});

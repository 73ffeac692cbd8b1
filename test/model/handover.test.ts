import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Bounds, check, MODEL, type Verdict } from '../support/handover-model.ts';
import { requireTool } from '../support/tool.ts';

const spin = requireTool('spin', 'apt-get install spin');
const cc = requireTool('cc', 'apt-get install build-essential');

const small: Bounds = { ATTEMPTS: 1, FAULTS: 0, WRITERS: 1, WRITES: 1, ROUNDS: 0, STEPS: 0 };

/** Larger bounds are in test/faults/handover-model.test.ts. */
const scopes: readonly (readonly [string, Bounds, readonly string[]])[] = [
  [
    'both directions, a stepped clock, retention',
    { ...small, ATTEMPTS: 2, WRITES: 2, ROUNDS: 1, STEPS: 1 },
    [],
  ],
  ['both directions, one fault', { ...small, ATTEMPTS: 2, FAULTS: 1 }, []],
  ['two writers, a stepped clock', { ...small, WRITERS: 2, WRITES: 2, ROUNDS: 1, STEPS: 1 }, []],
  ['retention and one fault', { ...small, FAULTS: 1, ROUNDS: 1 }, []],
  ['calls that stall before their commit', { ...small, FAULTS: 1 }, ['SLOW']],
];

const I6 = /\.has *& ?~/;
const I10 = /epoch==/;
const I3 = /wal\[k\]/;

/** What the rule prevents, the bounds in which it shows, and the property that breaks. */
const mutants: readonly (readonly [string, Partial<Bounds>, RegExp])[] = [
  ['BARRIER_FIRST', {}, I6],
  ['FLAG_ROW', {}, I6],
  ['NO_ROW_LOCK', { FAULTS: 1 }, I10],
  ['LATE_POSITION', { ATTEMPTS: 2 }, I6],
  ['NO_CLOCK', {}, I6],
  ['NO_LATE', { STEPS: 1 }, I6],
  ['DRAINED_BY_LAG', {}, I6],
  ['CANARY_CONSUMER', {}, I3],
  ['LATE_ADVANCE', { FAULTS: 1, ROUNDS: 1 }, I3],
  ['NO_VERIFY', { FAULTS: 1 }, /wrong/],
  ['NO_DEADLINE', { FAULTS: 2 }, /dead\[0\]/],
];

describe.skipIf(!spin.found || !cc.found)('the model of the handover', () => {
  const seen: Verdict[] = [];

  it.each(scopes)('holds: %s', async (_, bounds, defines) => {
    const verdict = await check(bounds, defines);
    expect(verdict.violated).toBe('');
    expect(verdict.errors).toBe(0);
    expect(verdict.states).toBeGreaterThan(10_000);
    seen.push(verdict);
  });

  it('takes every edge of its table', () => {
    expect(seen).toHaveLength(scopes.length);
    // Written as the checker does: the line and the first half of an edge. An edge may stand in several places.
    const places = readFileSync(MODEL, 'utf8')
      .split('\n')
      .flatMap((line, i) =>
        [...line.matchAll(/EDGE\((\w+), (\w+)\)/g)].map(([edge, from]) => ({
          edge,
          place: `${i + 1} assert((at==${from}))`,
        })),
      );
    const taken = new Set(
      places.filter(({ place }) => seen.some((v) => !v.unreached.includes(place))).map(({ edge }) => edge),
    );
    expect(
      places.map(({ edge }) => edge).filter((edge) => !taken.has(edge) && edge !== 'EDGE(from, to)'),
    ).toEqual([]);
  });

  it.each(mutants)('breaks as %s', async (mutant, bounds, property) => {
    const verdict = await check({ ...small, ...bounds }, [mutant]);
    expect(verdict.errors).toBe(1);
    expect(verdict.violated).toMatch(property);
  });
});

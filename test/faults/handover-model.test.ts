import { describe, expect, it } from 'vitest';
import { type Bounds, check } from '../support/handover-model.ts';
import { requireTool } from '../support/tool.ts';

const spin = requireTool('spin', 'apt-get install spin');
const cc = requireTool('cc', 'apt-get install build-essential');

const base: Bounds = { ATTEMPTS: 1, FAULTS: 1, WRITERS: 1, WRITES: 2, ROUNDS: 0, STEPS: 0 };

describe.skipIf(!spin.found || !cc.found)('the model of the handover, in larger bounds', () => {
  it.each<readonly [string, Bounds]>([
    ['there and back with a fault', { ...base, ATTEMPTS: 2 }],
    ['two faults', { ...base, FAULTS: 2, WRITES: 1 }],
    ['two writers, a fault and a stepped clock', { ...base, WRITERS: 2, STEPS: 1 }],
    ['retention, a fault and two writes', { ...base, ROUNDS: 1 }],
  ])('%s', async (_, bounds) => {
    const verdict = await check(bounds, [], '-O2', 300_000);
    expect(verdict.violated).toBe('');
    expect(verdict.errors).toBe(0);
  });
});

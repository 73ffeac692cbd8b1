import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { STEPS } from '../../orchestrator/state/documents.ts';
import { MOVES, type Phase } from '../../orchestrator/state/state.ts';
import { readEdges } from '../support/handover-model.ts';

const { modelled, outside } = await readEdges();
const phases = Object.keys(MOVES) as Phase[];
const nodes = new Set(modelled.flat());
const orchestrator = (file: string) =>
  readFile(resolve(import.meta.dirname, '../../orchestrator', file), 'utf8');

/** Whether the model goes from one node to another without passing a third of `stops`. */
function leads(from: string, to: string, stops: readonly string[]): boolean {
  const seen = new Set<string>();
  const open = [from];
  for (let at = open.pop(); at !== undefined; at = open.pop())
    for (const [a, b] of modelled) {
      if (a !== at) continue;
      if (b === to) return true;
      if (!seen.has(b) && !stops.includes(b)) open.push(b);
      seen.add(b);
    }
  return false;
}

describe('what the journal can tell', () => {
  it('has a table that is not empty', () => {
    expect(modelled.length).toBeGreaterThan(30);
    expect(outside.length).toBeGreaterThan(10);
  });

  it('of the state: every legal move is the model’s, or said to be outside of every handover', () => {
    // The outcome `aborted` of a handover is not the phase of that name, and a run stays where it is between two of them.
    const between = (from: string, to: string) =>
      from !== 'aborted' && to !== 'aborted' && from !== to && leads(from, to, phases);
    const said = (from: string, to: string) => outside.some(([a, b]) => a === from && b === to);
    const pairs = phases.flatMap((from) => phases.map((to) => [from, to] as const));
    const known = pairs.filter(([from, to]) => between(from, to) || said(from, to));
    expect(known).toEqual(pairs.filter(([from, to]) => MOVES[from].includes(to)));
    expect(known.filter(([from, to]) => between(from, to) && said(from, to))).toEqual([]);
  });

  it('of the steps: they follow each other in the code as in the model, and each may fail', async () => {
    const attempt = await orchestrator('phases/handover.ts');
    const around = await orchestrator('runner/hand-over.ts');
    const run = (text: string) => [...text.matchAll(/steps\.run\(\s*'(\w+)'/g)].map((m) => m[1] ?? '');
    const [first, ...last] = run(around);
    const inCode = [first ?? '', ...run(attempt), ...last];
    expect(inCode).toEqual([...STEPS]);
    inCode.slice(1).forEach((step, i) => {
      expect(leads(inCode[i] ?? '', step, STEPS), `${inCode[i]} -> ${step}`).toBe(true);
    });
    // A step that fails says so, and what follows is the truth; after it, switch and reverse leave it unfinished.
    for (const step of run(attempt)) expect(modelled, step).toContainEqual([step, 'truth']);
    for (const step of last) expect(modelled, step).toContainEqual([step, 'unfinished']);
    const pairs = STEPS.flatMap((from) => STEPS.map((to) => [from, to] as const));
    const skipping = pairs.filter(
      ([from, to]) => STEPS.indexOf(to) !== STEPS.indexOf(from) + 1 && leads(from, to, [...STEPS, 'syncing']),
    );
    expect(skipping).toEqual([]);
  });

  it('of outcomes and of recovery: every word is a node, and every node is a word of the code', async () => {
    const around = await orchestrator('runner/hand-over.ts');
    const recovery = await orchestrator('runner/recover.ts');
    const outcomes = [...around.matchAll(/count\(runner, kind, '([\w-]+)'/g)].map((m) => m[1] ?? '');
    expect(outcomes.length).toBeGreaterThan(4);
    for (const outcome of outcomes) expect(leads(outcome, 'syncing', []), outcome).toBe(true);
    const told = [...recovery.matchAll(/ctx\.journal\('(\w+)'/g)].map((m) => m[1] ?? '');
    expect(told.length).toBe(2);
    for (const event of [...told, 'nothing']) expect(modelled, event).toContainEqual(['truth', event]);
    const words = new Set<string>([...phases, ...STEPS, ...outcomes, ...told, 'nothing', 'idle', 'truth']);
    expect([...nodes].filter((node) => !words.has(node))).toEqual([]);
  });
});

/** The cases of the handover's crash sweep: which failpoints of a direction, and what happens there. */

import type { HandoverKind } from '../../orchestrator/pg/side.ts';
import { createRandom } from '../../orchestrator/rehearsal/generator/random.ts';

export const FAULTS = ['kill', 'blue', 'green', 'reset'] as const;
export type Fault = (typeof FAULTS)[number];

export interface CrashCase {
  readonly kind: HandoverKind;
  /** `name:nth`, the one after the other; the fault comes at each that is not marked as only passed. */
  readonly points: readonly { readonly name: string; readonly nth: number; readonly fault: boolean }[];
  readonly fault: Fault;
}

/** How often each failpoint was passed. */
export function countHits(output: string): Map<string, number> {
  const hits = new Map<string, number>();
  for (const [, name, hit] of output.matchAll(/^failpoint (\S+) (\d+)$/gm))
    hits.set(name as string, Math.max(hits.get(name as string) ?? 0, Number(hit)));
  return hits;
}

/** @returns every failpoint that one direction passed, its second hit where there was one, times every fault. */
export function casesOf(kind: HandoverKind, hits: ReadonlyMap<string, number>): CrashCase[] {
  const chains: CrashCase['points'][] = [];
  for (const [name, count] of hits) {
    chains.push([{ name, nth: 1, fault: true }]);
    if (count > 1) chains.push([{ name, nth: 2, fault: true }]);
    // The stream's failpoints are passed all the time: here inside the drain, which waits for them.
    if (/^(apply|ack)\./.test(name))
      chains.push([
        { name: 'drain.before', nth: 1, fault: false },
        { name, nth: 1, fault: true },
      ]);
  }
  // A runner that dies while it finishes what a dead one had decided.
  for (const name of ['open.before', 'open.after'])
    chains.push([
      { name: 'decide.after', nth: 1, fault: true },
      { name, nth: 1, fault: true },
    ]);
  return chains.flatMap((points) => FAULTS.map((fault) => ({ kind, points, fault })));
}

export const label = ({ points }: CrashCase): string =>
  points.map((p) => (p.nth === 1 ? p.name : `${p.name}#${p.nth}`)).join(' > ');

/** The same order for the same seed. */
export function shuffled<T>(items: readonly T[], seed: string): T[] {
  const random = createRandom(seed);
  return items
    .map((item) => ({ item, at: random.next() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

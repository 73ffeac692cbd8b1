/**
 * A small generator with a seed (mulberry32): a failure names the seed that repeats it.
 * @returns a function that gives an integer from 0 up to, not including, its argument.
 */
export function seeded(seed: number): Random {
  let a = seed;
  return (below) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

export type Random = (below: number) => number;

/** One of `items`. */
export function oneOf<T>(next: Random, items: readonly T[]): T {
  return items[next(items.length)] as T;
}

import { setTimeout as delay } from 'node:timers/promises';
import type { Context } from '../state/context.ts';
import { compareScope } from './compare.ts';
import type { Comparison } from './comparison.ts';
import type { Delta } from './delta.ts';
import type { Difference } from './narrow.ts';
import { type Cuttable, takePicture } from './picture.ts';

const ROUNDS = 10;

const nameOf = (d: Difference): string => `${d.part}:${d.key}:${d.kind}`;

/**
 * While green serves, the applier reads each touched row as it is *now* (DESIGN 8), so blue's picture at the cut can
 * be ahead of green's for a key that was written twice around it. Such keys are compared again in newer pictures:
 * what becomes equal was a race; what stays different with the same content on both sides across two pictures, with
 * everything before the first one applied, is a difference.
 *
 * A key that is written faster than pictures are taken never settles. After ROUNDS it is left to the delta, where its
 * writes have put it: the freeze compares it exactly, with everything at rest (I9).
 */
export async function settle(
  ctx: Context,
  c: Comparison,
  applier: Cuttable & { readonly delta: Delta },
  suspects: readonly Difference[],
  signal: AbortSignal,
): Promise<readonly Difference[]> {
  const settled: Difference[] = [];
  let open = new Map(suspects.map((d) => [nameOf(d), d]));
  for (let round = 1; open.size > 0; round++) {
    signal.throwIfAborted();
    const keys = [...new Set([...open.values()].map((d) => d.key))];
    const again = new Map<string, Difference>();
    for (const d of await compareAgain(ctx, c, applier, keys)) again.set(nameOf(d), d);
    const next = new Map<string, Difference>();
    for (const [name, d] of again) {
      const before = open.get(name);
      const stands = before !== undefined && before.evidence === d.evidence;
      if (stands || (round === ROUNDS && !applier.delta.touched(d.key))) settled.push(d);
      else if (round < ROUNDS) next.set(name, d);
    }
    open = next;
    if (open.size > 0) await delay(100, undefined, { signal });
  }
  return settled;
}

async function compareAgain(
  ctx: Context,
  c: Comparison,
  applier: Cuttable,
  keys: readonly number[],
): Promise<readonly Difference[]> {
  const picture = await takePicture(ctx, c.serving, applier);
  try {
    return (await compareScope(c, picture.readers, { kind: 'keys', keys })).differences;
  } finally {
    await picture.release();
  }
}

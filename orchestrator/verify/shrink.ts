import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { unfoundedParking } from './account.ts';
import { compareScope } from './compare.ts';
import { comparison } from './comparison.ts';
import type { Delta } from './delta.ts';
import { agreeOnHash } from './hash.ts';
import { type Cuttable, takePicture } from './picture.ts';
import { settle } from './settle.ts';

/** Keys compared in one statement a side. */
const BATCH = 5_000;
/** A freeze compares as many in a moment. */
const FEW = 100;
/** Each pass leaves what was written while it ran. */
const PASSES = 3;

/**
 * Makes the delta small while writes go on, so that the freeze costs what changed in the last moment and not since the
 * last sweep: its keys alone are compared in a newer picture. What the sweep found equal and nobody has touched is equal
 * still; with the touched keys equal at the newer point, everything is, and only what is touched after it counts (I9).
 *
 * A delta that is lost stays lost, and one with a difference stays as it is: the next sweep, or the freeze, names it.
 */
export async function shrinkDelta(
  ctx: Context,
  serving: Side,
  applier: Cuttable & { readonly delta: Delta },
): Promise<void> {
  for (let pass = 0; pass < PASSES; pass++) {
    const size = applier.delta.size ?? 0;
    if (size <= FEW) return;
    if (!(await comparedEqual(ctx, serving, applier))) return;
    if ((applier.delta.size ?? 0) > size / 2) return;
  }
}

/** @returns whether the keys were found equal, and the newer delta counts. */
async function comparedEqual(
  ctx: Context,
  serving: Side,
  applier: Cuttable & { readonly delta: Delta },
): Promise<boolean> {
  const { delta } = applier;
  const picture = await takePicture(ctx, serving, applier, () => delta.beginSweep());
  let equal = false;
  try {
    // The old delta goes on growing: the keys of after the picture are compared needlessly, and stay in the new one.
    const keys = delta.keys();
    if (keys === 'lost') return false;
    const { readers } = picture;
    const hash = await agreeOnHash(readers.blue, readers.green);
    const c = comparison(ctx.relations, hash, serving, ctx.claim().generation);
    const all = [...keys];
    const suspects = [];
    let unfounded = 0;
    for (let at = 0; at < all.length; at += BATCH) {
      ctx.signal.throwIfAborted();
      const batch = all.slice(at, at + BATCH);
      suspects.push(...(await compareScope(c, readers, { kind: 'keys', keys: batch })).differences);
      if (serving === 'blue') unfounded += (await unfoundedParking(readers.control, ctx, batch)).length;
    }
    const differences = serving === 'green' ? await settle(ctx, c, applier, suspects, ctx.signal) : suspects;
    equal = differences.length === 0 && unfounded === 0 && !delta.lost;
    return equal;
  } finally {
    if (equal) delta.sweepClean();
    else delta.sweepFailed();
    await picture.release();
  }
}

import type pg from 'pg';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { unfoundedParking } from './account.ts';
import { compareScope } from './compare.ts';
import { comparison, type Readers } from './comparison.ts';
import { agreeOnHash } from './hash.ts';
import { inOrder, type Mismatch } from './mismatch.ts';
import { nameDifferences } from './naming.ts';

/** Compiling a statement takes longer than running it on a few thousand keys. */
const NO_JIT = `SELECT set_config('jit', 'off', false)`;

/** Keys compared in one statement a side. */
const BATCH = 5_000;

/**
 * Compares some source keys on both sides as they are now: the delta, inside the freeze. Both sides must stand still
 * and the applier must have drained, or a key in flight shows as a difference.
 * @param clients sessions outside any transaction; read only.
 */
export async function compareKeys(
  ctx: Context,
  clients: Readonly<Record<Side, pg.Client>>,
  keys: Iterable<number>,
  serving: Side,
  signal?: AbortSignal,
): Promise<Mismatch[]> {
  const all = [...keys];
  const readers: Readers = { blue: clients.blue, green: clients.green, control: clients.green };
  const found: Mismatch[] = [];
  if (all.length === 0) return found;
  for (const side of ['blue', 'green'] as const) await clients[side].query(NO_JIT);
  const hash = await agreeOnHash(clients.blue, clients.green);
  const c = comparison(ctx.relations, hash, serving, ctx.claim().generation);
  for (let at = 0; at < all.length; at += BATCH) {
    signal?.throwIfAborted();
    const batch = all.slice(at, at + BATCH);
    const { differences } = await compareScope(c, readers, { kind: 'keys', keys: batch });
    if (differences.length > 0) found.push(...(await nameDifferences(c, readers, differences)));
    if (serving === 'blue') found.push(...(await unfoundedParking(clients.green, ctx, batch)));
  }
  return inOrder(found);
}

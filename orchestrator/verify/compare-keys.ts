import type pg from 'pg';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { unfoundedParking } from './account.ts';
import { compareScope, readDigests } from './compare.ts';
import { type Comparison, comparison, type Readers } from './comparison.ts';
import { agreeOnHash } from './hash.ts';
import { inOrder, type Mismatch } from './mismatch.ts';
import { nameDifferences } from './naming.ts';

/** Compiling a statement takes longer than running it on a few thousand keys. */
const NO_JIT = `SELECT set_config('jit', 'off', false)`;

/** Keys compared in one statement a side. */
const BATCH = 5_000;

/** Compares keys of both sides as they are now; made ready before the freeze, used inside it. */
export interface KeyComparison {
  /**
   * Reads what the comparison of these keys will read, and judges nothing: of a large table most pages lie on disk until
   * somebody asks for them, and a freeze would wait for each.
   */
  warm(keys: Iterable<number>): Promise<void>;
  differences(keys: Iterable<number>, signal?: AbortSignal): Promise<Mismatch[]>;
}

/**
 * Agrees on a hash, and lets both sessions meet the statements once: what a session has to read of the catalog it reads
 * now, and not while writes are refused.
 * @param clients sessions outside any transaction; read only.
 */
export async function keyComparison(
  ctx: Context,
  clients: Readonly<Record<Side, pg.Client>>,
  serving: Side,
): Promise<KeyComparison> {
  await Promise.all([clients.blue.query(NO_JIT), clients.green.query(NO_JIT)]);
  const readers: Readers = { blue: clients.blue, green: clients.green, control: clients.green };
  const c = comparison(
    ctx.relations,
    await agreeOnHash(clients.blue, clients.green),
    serving,
    ctx.claim().generation,
  );
  await readDigests(c, readers, { kind: 'keys', keys: [] });
  return {
    warm: async (keys) => {
      await readDigests(c, readers, { kind: 'keys', keys: [...keys].slice(0, BATCH) });
    },
    differences: async (keys, signal) => inOrder(await compareBatches(ctx, c, readers, [...keys], signal)),
  };
}

/** Compares keys batch by batch, and names what differs. */
async function compareBatches(
  ctx: Context,
  c: Comparison,
  readers: Readers,
  keys: readonly number[],
  signal?: AbortSignal,
): Promise<Mismatch[]> {
  const found: Mismatch[] = [];
  for (let at = 0; at < keys.length; at += BATCH) {
    signal?.throwIfAborted();
    const batch = keys.slice(at, at + BATCH);
    const { differences } = await compareScope(c, readers, { kind: 'keys', keys: batch });
    if (differences.length > 0) found.push(...(await nameDifferences(c, readers, differences)));
    if (c.serving === 'blue') found.push(...(await unfoundedParking(readers.control, ctx, batch)));
  }
  return found;
}

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
  if (all.length === 0) return [];
  return (await keyComparison(ctx, clients, serving)).differences(all, signal);
}

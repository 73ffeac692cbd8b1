import type pg from 'pg';
import { connect } from '../pg/connect.ts';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import type { MismatchDocument } from '../state/documents.ts';
import type { Delta } from './delta.ts';
import { FORGET_BASELINE } from './foreign.ts';
import { awaitVisible } from './quiet.ts';
import { repairBlue } from './repair-blue.ts';
import { repairGreen, repairRoles } from './repair-green.ts';

/** What a repair needs of the applier. */
export interface Repairable {
  readonly delta: Delta;
  between<T>(work: (client: pg.Client) => Promise<T>): Promise<T>;
}

/** Keys derived anew while the applier waits once. */
const BATCH = 500;
/** Keys the journal names. */
const NAMED = 1_000;

/**
 * Derives the named keys anew from the serving side, inside the applier, between two batches (HISTORIES 31): the rows
 * are read after everything applied so far has become visible, so they are never older than what is written over, and
 * whatever happens later comes later in the stream. Repaired keys enter the delta.
 * @returns how many keys were derived anew.
 * @throws OrchestrateError NOT_VISIBLE (transient) when open transactions keep it from reading.
 */
export async function repair(
  ctx: Context,
  applier: Repairable,
  mismatches: readonly MismatchDocument[],
  serving: Side,
): Promise<number> {
  const keys = [...new Set(mismatches.filter((m) => m.table !== 'role').map((m) => Number(m.key)))];
  const source = await connect(ctx.endpoints[serving], { purpose: 'repair' });
  try {
    if (mismatches.some((m) => m.table === 'role') && ctx.claim().generation === 0n)
      await applier.between((client) => repairRoles(client, ctx.relations));
    for (let at = 0; at < keys.length; at += BATCH) {
      const batch = keys.slice(at, at + BATCH);
      await applier.between(async (client) => {
        await awaitVisible(source, ctx, serving);
        const touched =
          serving === 'blue'
            ? await repairGreen(client, source, ctx, batch)
            : await repairBlue(client, source, ctx, batch);
        // Before the commit: a key that is repaired and not in the delta would not be looked at in the freeze.
        applier.delta.add(touched);
      });
    }
    if (serving === 'blue' && ctx.claim().generation > 0n)
      await applier.between((client) => client.query(FORGET_BASELINE, [ctx.claim().generation.toString()]));
  } finally {
    await source.end();
  }
  await ctx.journal('repair', {
    serving,
    keys: keys.length,
    named: keys.slice(0, NAMED),
    tables: [...new Set(mismatches.map((m) => m.table))],
  });
  return keys.length;
}

import { SIDES } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { abort, type Ended } from './abort.ts';
import { connectBoth, readEnding } from './control.ts';
import { finalize } from './finalize.ts';

/**
 * Goes on with an abort or a finalize that was begun and died (I12). Comes before anything else a runner does: one of
 * the two control schemas may be gone already.
 * @returns how it ended, or null when nothing of the kind is under way.
 * @throws OrchestrateError LEASE_HELD while another process is at it; CANNOT_CONNECT.
 */
export async function finishEnding(ctx: Context): Promise<Ended | null> {
  const clients = await connectBoth(ctx, 'ending');
  let ending: 'aborting' | 'finalizing' | null;
  try {
    ending = (await readEnding(clients.blue)) ?? (await readEnding(clients.green));
  } finally {
    await Promise.all(SIDES.map((side) => clients[side].end().catch(() => {})));
  }
  switch (ending) {
    case null:
      return null;
    case 'aborting':
      return abort(ctx);
    case 'finalizing':
      // As it was begun: these options are not looked at.
      return finalize(ctx, { keepControl: false, keepCompatView: false });
  }
}

import type { Settings } from '../config/settings.ts';
import { connect } from '../pg/connect.ts';
import { endpointOf } from '../pg/endpoints.ts';
import { otherSide, SIDES, type Side } from '../pg/side.ts';
import { hasControl } from '../state/store.ts';

/**
 * What finalize leaves behind tells that it was here: a sealed fence on the side that does not serve.
 * @returns the serving side of a finalized migration, or null when there is none (or its fence was released).
 */
export async function finalizedSide(settings: Settings): Promise<Side | null> {
  for (const side of SIDES) {
    const client = await connect(endpointOf(settings, side), { purpose: 'status' });
    try {
      if (await hasControl(client)) return null;
      const { rows } = await client.query<{ sealed: boolean }>(
        `SELECT EXISTS (
           SELECT FROM pg_trigger AS t
           WHERE t.tgname = 'orchestrate_fence' AND NOT t.tgisinternal AND t.tgenabled = 'A'
             AND encode(t.tgargs, 'escape') LIKE 'sealed%'
             AND split_part(encode(t.tgargs, 'escape'), '\\000', 5) = $1) AS sealed`,
        [settings.migration],
      );
      if (rows[0]?.sealed) return otherSide(side);
    } finally {
      await client.end();
    }
  }
  return null;
}

import { fencedTables } from '../../orchestrator/fence/fence.ts';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { prepare } from '../../orchestrator/phases/prepare.ts';
import { prepareReverse } from '../../orchestrator/stream/reverse-setup.ts';
import type { Pair } from './databases.ts';
import type { TestContext } from './run-context.ts';
import { execute, withClient } from './sql.ts';

/** A migration in `syncing` with everything a run makes; with `green`, after a cutover. */
export async function syncing(pair: Pair, ctx: TestContext, serving: 'blue' | 'green'): Promise<void> {
  await ensureControl(ctx);
  await (await prepare(ctx)).slot.release();
  await prepareReverse(ctx);
  const state = JSON.stringify({ phase: 'syncing', madeOrgTables: false, serving });
  await execute(
    pair.green.urls.sync,
    `INSERT INTO orchestrator.run (migration, phase, state) VALUES ('${ctx.names.migration}', 'syncing', '${state}')`,
  );
  if (serving === 'blue') return;
  for (const side of ['blue', 'green'] as const) {
    await execute(
      pair[side].urls.sync,
      `UPDATE orchestrator.side SET generation = 1, role = '${side === 'green' ? 'serving' : 'standby'}'`,
    );
    await withClient(pair[side].urls.sync, (client) =>
      client.query('SELECT orchestrator.set_fence($1, $2, NULL, NULL, $3)', [
        fencedTables(ctx, side),
        side === 'green' ? 'open' : 'closed',
        ctx.names.migration,
      ]),
    );
  }
  await execute(
    pair.green.urls.sync,
    `INSERT INTO orchestrator.certificate (generation, kind, body) VALUES (1, 'cutover', '{"verdict": "clean"}')`,
  );
  ctx.setClaim({ generation: 1n });
}

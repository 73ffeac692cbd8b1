/** Copy while the application writes, killed and resumed, then caught up by the real stream. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildPhase } from '../../orchestrator/phases/build.ts';
import { copyPhase } from '../../orchestrator/phases/copy.ts';
import { Applier } from '../../orchestrator/stream/applier.ts';
import { forwardSink } from '../../orchestrator/stream/apply.ts';
import { chunksOf, expectSame, phaseInProcess, prepared } from '../support/copy-trial.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import type { TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
beforeEach(async () => {
  pair = await freshPair();
});
afterEach(async () => pair.drop());

/** Brings green up to blue's present end, through build's catch-up and then the stream of sync. */
async function buildAndFollow(ctx: TestContext): Promise<void> {
  const failed = (applier: Applier): Promise<never> =>
    new Promise((_, reject) => applier.onFatal((error) => reject(error)));
  let caughtUp = 0;
  await buildPhase(ctx, async (until) => {
    caughtUp++;
    const applier = new Applier(ctx, 'forward', forwardSink(ctx, { mode: 'catch-up', truncate: 'apply' }));
    const broken = failed(applier);
    await applier.start();
    try {
      await Promise.race([applier.waitForLsn(until, ctx.signal), broken]);
    } finally {
      await applier.stop();
    }
  });
  expect(caughtUp).toBe(1);
  const applier = new Applier(ctx, 'forward', forwardSink(ctx, { mode: 'syncing', truncate: 'apply' }));
  const broken = failed(applier);
  await applier.start();
  try {
    const here = applier.waitForMessage('barrier:test', ctx.signal);
    await rows(pair.blue.urls.sync, 'SELECT pg_logical_emit_message(true, $1, $2)', [
      ctx.names.messagePrefix,
      'barrier:test',
    ]);
    await Promise.race([here, broken]);
  } finally {
    await applier.stop();
  }
}

describe('a copy that was killed, with writes before, during and after', () => {
  it('ends with the facts of blue: new, changed, deleted rows, moved and swapped keys, cold TOAST', async () => {
    await execute(
      pair.blue.urls.owner,
      `INSERT INTO user_settings (id, keycloak_user_id, llm_api_key, language)
       SELECT n, CASE WHEN n % 700 = 0 THEN NULL WHEN n % 350 = 1 THEN 'shared' || n / 1400 ELSE 'k' || n END,
              CASE WHEN n % 100 = 0
                THEN (SELECT string_agg(md5(n || ':' || i), '') FROM generate_series(1, 300) AS i) END, 'en'
       FROM generate_series(1, 9000) AS n;
       SELECT setval(pg_get_serial_sequence('user_settings', 'id'), 9000)`,
    );
    const { ctx, slot, built } = await prepared(pair);
    await slot.release();

    // Every kind of change, by one statement each, between every two lives of the copy.
    const change = (round: number): Promise<void> =>
      withClient(pair.blue.urls.app, async (app) => {
        for (const statement of [
          `INSERT INTO user_settings (keycloak_user_id, language) SELECT 'new ${round} ' || n, 'fr' FROM generate_series(1, 20) AS n`,
          `UPDATE user_settings SET language = 'r${round}' WHERE id % 97 = ${round}`,
          `UPDATE user_settings SET keycloak_user_id = 'late ' || id WHERE id % 700 = 0 AND id % 4 = ${round}`,
          `UPDATE user_settings SET keycloak_user_id = NULL WHERE id % 613 = ${round}`,
          `UPDATE user_settings SET keycloak_user_id = 'moved ' || id WHERE keycloak_user_id LIKE 'shared%' AND id % 3 = ${round % 3}`,
          `DELETE FROM user_settings WHERE id % 811 = ${round}`,
          `UPDATE user_settings SET keycloak_user_id = CASE id WHEN ${10 + round} THEN 'k8990' ELSE 'k${10 + round}' END
           WHERE id IN (${10 + round}, 8990)`,
        ])
          await app.query(statement);
      });

    await phaseInProcess(pair, 'copy', 'plan.after:crash');
    await change(1);
    await phaseInProcess(pair, 'copy', 'chunk.after:crash:2');
    await change(2);
    await phaseInProcess(pair, 'copy', 'chunk.before:crash:1');
    await change(3);
    await copyPhase(ctx, 'resume');
    expect(new Set((await chunksOf(pair)).map((c) => c.lsn)).size).toBeGreaterThanOrEqual(2);
    await change(4);

    await buildAndFollow(ctx);
    const [{ n } = { n: 0 }] = await rows<{ n: number }>(
      pair.blue.urls.superuser,
      'SELECT count(*)::integer AS n FROM user_settings',
    );
    expect(n).toBeGreaterThan(9_000);
    await expectSame(pair, built, n);
  });
});

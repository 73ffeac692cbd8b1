/** The reverse stream and its set-up, ended at each durable step and begun anew. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { freshPair, type Pair } from '../support/databases.ts';
import type { GreenServing } from '../support/green-serving.ts';
import { execute, rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

/** Failpoints are read once, when their module is: each test loads everything anew. */
async function armed(points: string) {
  vi.resetModules();
  vi.stubEnv('ORCHESTRATE_TEST', '1');
  vi.stubEnv('ORCHESTRATE_FAILPOINT', points);
  return {
    ...(await import('../support/green-serving.ts')),
    ...(await import('../../orchestrator/stream/reverse-setup.ts')),
    ...(await import('../../orchestrator/phases/control.ts')),
  };
}

let pair: Pair;
let side: GreenServing | undefined;
beforeEach(async () => {
  pair = await freshPair();
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (1, 'one', 'en'), (2, 'two', 'en')`,
  );
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await side?.stop();
  side = undefined;
  await pair.drop();
});

const signUp = (k: number) => `
  BEGIN;
  INSERT INTO "user" (id, keycloak_user_id) VALUES (${k}, 'person ${k}');
  INSERT INTO org (id, name) VALUES (${k + 3}, 'user_${k}_org');
  INSERT INTO org_user VALUES (${k + 3}, ${k}, 1, 'active');
  INSERT INTO settings (id, org_id, language) VALUES (${k + 5}, ${k + 3}, 'of ${k}');
  COMMIT;`;

test.each(['link.before', 'link.after', 'apply.before', 'apply.after'])(
  'ended at %s, the stream begun anew loses and doubles nothing',
  async (point) => {
    const { greenServing, reverseStream, blueRows, greenInverse } = await armed(`${point}:error:2`);
    side = await greenServing(pair, { maxChanges: 5 });
    const { ctx } = side;
    for (let k = 101; k <= 112; k += 1) await side.green(signUp(k));
    await side.green(`UPDATE org SET name = 'renamed ' || id WHERE id > 103`);
    let ended = 0;
    const marker = randomUUID();
    for (;;) {
      const { applier } = side;
      const stopped = new Promise<'ended'>((resolve) => applier.onFatal(() => resolve('ended')));
      if (applier.status.fatal) ended += 1;
      else {
        const end = new AbortController();
        const arrived = applier.waitForMessage(marker, end.signal).then(
          () => 'arrived' as const,
          () => 'ended' as const,
        );
        await rows(pair.green.urls.sync, 'SELECT pg_logical_emit_message(true, $1, $2)', [
          ctx.names.messagePrefix,
          marker,
        ]);
        const outcome = await Promise.race([stopped, arrived]);
        end.abort();
        if (outcome === 'arrived') break;
        ended += 1;
      }
      await side.stop();
      side = await reverseStream(pair, ctx, { maxChanges: 5 });
    }
    expect(ended).toBe(1);
    expect((await blueRows(pair)).length).toBe(14);
    expect(await blueRows(pair)).toEqual(await greenInverse(pair, ctx));
    const links = await rows(
      pair.green.urls.superuser,
      'SELECT k, org_id, settings_id FROM orchestrator.link ORDER BY k',
    );
    expect(links).toEqual(
      Array.from({ length: 12 }, (_, i) => ({ k: 101 + i, org_id: 104 + i, settings_id: 106 + i })),
    );
  },
);

test.each([
  'identity.before',
  'identity.after:error:2',
  'publication.before:error:2',
  'publication.after:error:2',
  'slot.before:error:2',
  'slot.after:error:2',
  'position.after:error:2',
])('the set-up, ended at %s, is completed by the next call', async (point) => {
  const { copied, prepareReverse, reverseReady, connectBoth } = await armed(
    point.includes(':') ? point : `${point}:error`,
  );
  const ctx = await copied(pair);
  await expect(prepareReverse(ctx)).rejects.toThrow('failpoint');
  await prepareReverse(ctx);
  const clients = await connectBoth(ctx, 'test');
  try {
    expect(await reverseReady(ctx, 'green', clients)).toMatchObject({ passed: true });
    const saved = await rows(
      pair.green.urls.superuser,
      `SELECT count(*)::integer AS saved FROM orchestrator.saved_object WHERE kind = 'replica identity'`,
    );
    expect(saved).toEqual([{ saved: 5 }]);
  } finally {
    await Promise.all([clients.blue.end(), clients.green.end()]);
  }
  await until('no walsender of ours to be left', async () => {
    const left = await rows(
      pair.green.urls.superuser,
      `SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active`,
      [ctx.names.slot.green],
    );
    return left.length === 0;
  });
});

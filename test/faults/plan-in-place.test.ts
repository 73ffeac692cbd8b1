/** `plan --in-place`: an estimate from a sample of the real move, of which nothing stays. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ErrorDocument } from '../../orchestrator/errors/failure.ts';
import type { EstimateDocument } from '../../orchestrator/phases/migrate/estimate.ts';
import { catalogOf } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { bytesOf, fill055 } from '../support/in-place.ts';
import { orchestrate } from '../support/in-process.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await freshPair();
});
afterAll(async () => {
  await pair.drop();
});

const plan = (...more: string[]) =>
  orchestrate(['plan', '--in-place', '--json', ...more], { ORCHESTRATE_BLUE_URL: pair.blue.urls.sync });

it('on a database without the old table there is nothing to plan', async () => {
  await execute(pair.blue.urls.owner, 'ALTER TABLE user_settings RENAME TO elsewhere');
  const ended = await plan();
  expect([ended.exit, ended.json<{ error: ErrorDocument }>().error.code]).toEqual([3, 'WRONG_PHASE']);
  await execute(pair.blue.urls.owner, 'ALTER TABLE elsewhere RENAME TO user_settings');
});

it('counts, measures, and leaves everything as it was; indexes are advised by usage', async () => {
  const { owner, superuser } = pair.blue.urls;
  await fill055(pair, 2_000);
  await execute(
    owner,
    'CREATE INDEX used_one ON user_settings (email); CREATE INDEX idle_one ON user_settings (language)',
  );
  await withClient(owner, async (client) => {
    await client.query('SET enable_seqscan = off');
    await client.query(`SELECT FROM user_settings WHERE email = 'somebody'`);
  });
  await until('the index has been used', async () => {
    const [used] = await rows<{ scans: number }>(
      owner,
      `SELECT idx_scan::integer AS scans FROM pg_stat_user_indexes WHERE indexrelname = 'used_one'`,
    );
    return (used?.scans ?? 0) > 0;
  });
  const before = { catalog: await catalogOf(superuser), bytes: await bytesOf(superuser, ['user_settings']) };

  const ended = await plan('--batch-size', '100');
  expect(ended.exit).toBe(0);
  const document = ended.json<EstimateDocument>();
  const [counted] = await rows<{ n: number }>(owner, 'SELECT count(*)::integer AS n FROM user_settings');
  expect(document.rows).toBe(counted?.n);
  expect(document.batches).toBe(Math.floor(document.rows / 100) + 1);
  expect(document.sampled_rows).toBeGreaterThan(99);
  expect(document.table_bytes).toBeGreaterThan(100_000);
  expect(document.added_bytes).toBeGreaterThan(100_000);
  // Never less than what the sample itself took, in proportion.
  expect(document.estimated_seconds).toBeGreaterThan(
    (document.sampled_seconds * document.rows) / document.sampled_rows,
  );
  expect(document.maintenance_window_seconds).toBeGreaterThan(document.estimated_seconds);
  expect(document.indexes.map((i) => i.statement)).toEqual([
    'CREATE INDEX CONCURRENTLY ON "public"."settings" ("email")',
  ]);
  expect(await catalogOf(superuser)).toEqual(before.catalog);
  expect(await bytesOf(superuser, ['user_settings'])).toEqual(before.bytes);

  const text = await orchestrate(['plan', '--in-place'], { ORCHESTRATE_BLUE_URL: pair.blue.urls.sync });
  expect(text.stdout).toMatch(/Maintenance window: \d+ s/);
  expect(text.stdout).toContain(`${document.rows} rows`);
});

it('without an index on the key, one is advised before 057', async () => {
  const { owner } = pair.blue.urls;
  await execute(owner, 'DROP INDEX idx_keycloak_user_id');
  const { indexes } = (await plan()).json<EstimateDocument>();
  expect(indexes[0]?.statement).toBe(
    'CREATE INDEX CONCURRENTLY ON "public"."user_settings" ("keycloak_user_id")',
  );
  // What is advised works.
  await execute(owner, indexes[0]?.statement ?? '');
  expect((await plan()).json<EstimateDocument>().indexes.map((i) => i.statement)).toEqual([
    'CREATE INDEX CONCURRENTLY ON "public"."settings" ("email")',
  ]);
});

import { afterEach, beforeEach, expect, test } from 'vitest';
import { freshPair, type Pair } from '../support/databases.ts';
import { bothSides, type ForwardStream, streamOf } from '../support/forward-stream.ts';
import { copied } from '../support/green-serving.ts';
import { execute, rows } from '../support/sql.ts';

let pair: Pair;
let stream: ForwardStream | undefined;

const BIG = `(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000))`;

beforeEach(async () => {
  pair = await freshPair();
  await execute(
    pair.blue.urls.app,
    `INSERT INTO user_settings (id, keycloak_user_id, llm_api_key) SELECT n, 'k' || n, ${BIG} FROM generate_series(1, 20) n`,
  );
});

afterEach(async () => {
  await stream?.stop();
  stream = undefined;
  await pair.drop();
});

/** As on the way from the copy to the recompute pass: keys may meet. */
const WITHOUT_KEYS = `ALTER TABLE "user" DROP CONSTRAINT IF EXISTS user_keycloak_user_id_key`;

test('a value that was not sent and that the copy has not seen is read again from blue, that column only', async () => {
  const ctx = await copied(pair);
  await execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'en' WHERE id IN (3, 4)`);
  // Their chunk will only be copied under a newer snapshot, or one of them is gone by then.
  await execute(
    pair.green.urls.superuser,
    `ALTER TABLE settings DISABLE TRIGGER ALL; ALTER TABLE "user" DISABLE TRIGGER ALL; ALTER TABLE org DISABLE TRIGGER ALL; ALTER TABLE org_user DISABLE TRIGGER ALL;
     DELETE FROM org_user WHERE user_id IN (3, 4); DELETE FROM settings WHERE id IN (3, 4); DELETE FROM "user" WHERE id IN (3, 4); DELETE FROM org WHERE id IN (3, 4)`,
  );
  await execute(pair.blue.urls.app, `DELETE FROM user_settings WHERE id = 4`);
  stream = await streamOf(pair, ctx, { mode: 'catch-up', maxChanges: 1 });
  await stream.drained();
  const { blue, green } = await bothSides(pair);
  expect(blue.length).toBe(19);
  expect(green).toEqual(blue);
});

test('while syncing the same is an error: no value is ever invented', async () => {
  const ctx = await copied(pair);
  await execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'en' WHERE id = 3`);
  await execute(
    pair.green.urls.superuser,
    `ALTER TABLE settings DISABLE TRIGGER ALL; ALTER TABLE "user" DISABLE TRIGGER ALL; ALTER TABLE org DISABLE TRIGGER ALL; ALTER TABLE org_user DISABLE TRIGGER ALL;
     DELETE FROM org_user WHERE user_id = 3; DELETE FROM settings WHERE id = 3; DELETE FROM "user" WHERE id = 3; DELETE FROM org WHERE id = 3`,
  );
  stream = await streamOf(pair, ctx);
  await expect(stream.drained()).rejects.toMatchObject({
    code: 'ROW_MISSING',
    detail: { found: 'source id 3 on neither' },
  });
});

test('keys that meet while catching up are all mapped; the recompute pass decides', async () => {
  const ctx = await copied(pair);
  await execute(pair.green.urls.superuser, WITHOUT_KEYS);
  stream = await streamOf(pair, ctx, { mode: 'catch-up' });
  await stream.blue(`
    UPDATE user_settings SET keycloak_user_id = 'same' WHERE id IN (5, 6, 7);
    UPDATE user_settings SET keycloak_user_id = NULL WHERE id = 8;
    INSERT INTO user_settings (id, keycloak_user_id) VALUES (30, 'same'), (31, '');
    UPDATE user_settings SET keycloak_user_id = 'k8' WHERE id = 8;
    DELETE FROM user_settings WHERE id = 9`);
  await stream.drained();
  const { blue, green } = await bothSides(pair);
  expect(blue.length).toBe(21);
  expect(green).toEqual(blue);
  expect(
    await rows(
      pair.green.urls.superuser,
      `SELECT id FROM "user" WHERE keycloak_user_id = 'same' ORDER BY id`,
    ),
  ).toEqual([5, 6, 7, 30].map((id) => ({ id })));
  expect(await rows(pair.green.urls.superuser, 'SELECT id, reason FROM orchestrator.parked')).toEqual([
    { id: 31, reason: 'empty_key' },
  ]);
});

test('changes from before the copy of a row end in what the copy has seen', async () => {
  const ctx = await copied(pair);
  await execute(
    pair.blue.urls.app,
    `UPDATE user_settings SET language = 'old' WHERE id = 1;
     DELETE FROM user_settings WHERE id = 2;
     INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (2, 'k2', 'again'), (40, 'k40', 'new');
     UPDATE user_settings SET language = 'newer' WHERE id = 1`,
  );
  // What a chunk that is copied only now brings.
  await execute(
    pair.green.urls.sync,
    `UPDATE public.settings SET language = 'newer' WHERE id = 1;
     INSERT INTO public.org (id, name) VALUES (40, 'user_40_org');
     INSERT INTO public."user" (id, keycloak_user_id) VALUES (40, 'k40');
     INSERT INTO public.org_user VALUES (40, 40, 1, 'active');
     INSERT INTO public.settings (id, org_id, language) VALUES (40, 40, 'new')`,
  );
  stream = await streamOf(pair, ctx, { mode: 'catch-up', maxChanges: 1 });
  await stream.drained();
  const { blue, green } = await bothSides(pair);
  expect(blue.length).toBe(21);
  expect(green).toEqual(blue);
});

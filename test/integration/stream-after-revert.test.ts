import { afterEach, beforeEach, expect, test } from 'vitest';
import { setFence } from '../../orchestrator/fence/fence.ts';
import { formatLsn } from '../../orchestrator/pg/lsn.ts';
import { identify } from '../../orchestrator/stream/slot.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type ForwardStream, streamOf } from '../support/forward-stream.ts';
import { blueRows, greenInverse, greenServing, parkedRows } from '../support/green-serving.ts';
import type { TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
let stream: ForwardStream;

/** Moves serving back to blue, as a revert does. */
async function revert(ctx: TestContext): Promise<void> {
  const generation = ctx.claim().generation + 1n;
  await withClient(pair.blue.urls.sync, async (blue) => {
    const l = formatLsn((await identify(blue)).flushedLsn);
    await withClient(pair.green.urls.sync, async (green) => {
      await green.query('BEGIN');
      await setFence(green, ctx, 'green', 'closed');
      await green.query(`UPDATE orchestrator.side SET generation = $1, role = 'standby'`, [generation]);
      await green.query(`UPDATE orchestrator.progress SET lsn = $1 WHERE direction = 'forward'`, [l]);
      await green.query('COMMIT');
    });
    await blue.query('BEGIN');
    await setFence(blue, ctx, 'blue', 'open');
    await blue.query(`UPDATE orchestrator.side SET generation = $1, role = 'serving'`, [generation]);
    await blue.query('COMMIT');
  });
  ctx.setClaim({ generation });
}

const one = async <T>(sql: string): Promise<T | undefined> =>
  (await rows<Record<string, T>>(pair.green.urls.superuser, sql)).map((r) => Object.values(r)[0])[0];

/** Green's own inverse, mapped and parked together, is blue. */
async function expectEqual(): Promise<void> {
  await stream.drained();
  const blue = await blueRows(pair);
  const green = [...(await greenInverse(pair, stream.ctx)), ...(await parkedRows(pair))];
  expect(blue.length).toBeGreaterThan(3);
  expect(green.sort((a, b) => Number(a[0]) - Number(b[0]))).toEqual(blue);
}

beforeEach(async () => {
  pair = await freshPair();
  await execute(
    pair.blue.urls.app,
    `INSERT INTO user_settings (keycloak_user_id, language) SELECT 'k' || n, 'en' FROM generate_series(1, 8) n`,
  );
  const serving = await greenServing(pair);
  await serving.green(`
    SELECT nextval(pg_get_serial_sequence('org', 'id')) FROM generate_series(1, 40);
    SELECT nextval(pg_get_serial_sequence('settings', 'id')) FROM generate_series(1, 70);
    WITH u AS (INSERT INTO "user" (keycloak_user_id) VALUES ('born') RETURNING id),
         o AS (INSERT INTO org (name) SELECT 'user_' || id || '_org' FROM u RETURNING id),
         m AS (INSERT INTO org_user SELECT o.id, u.id, 1, 'active' FROM o, u)
    INSERT INTO settings (org_id, language) SELECT id, 'fr' FROM o;
    UPDATE org SET name = 'renamed by its people', contact_email = 'x@example.org' WHERE id = 3;
    INSERT INTO org_user VALUES (1, 2, 2, 'invited');
    INSERT INTO settings (org_id, user_id, language) VALUES (1, 2, 'de');
    INSERT INTO settings (org_id, user_id, language) VALUES (1, 1, 'it');
    DELETE FROM settings WHERE id = 5`);
  await serving.drained();
  await serving.stop();
  await revert(serving.ctx);
  stream = await streamOf(pair, serving.ctx);
});

afterEach(async () => {
  await stream.stop();
  await pair.drop();
});

test('HISTORIES 26, born on green: after a revert their changes go to the rows the link names', async () => {
  await stream.blue(
    `UPDATE user_settings SET language = 'ja', accepted_tos = '2026-01-01' WHERE keycloak_user_id = 'born'`,
  );
  await expectEqual();
  expect(
    await one('SELECT count(*)::integer FROM orchestrator.link WHERE k <> org_id AND org_id <> settings_id'),
  ).toBe(1);
  await stream.blue(`UPDATE user_settings SET keycloak_user_id = NULL WHERE keycloak_user_id = 'born'`);
  await expectEqual();
  await stream.blue(`UPDATE user_settings SET keycloak_user_id = 'back' WHERE keycloak_user_id IS NULL`);
  await expectEqual();
});

test('HISTORIES 30, constants that green has changed stay; facts still arrive', async () => {
  await stream.blue(`UPDATE user_settings SET language = 'zh-TW', keycloak_user_id = 'k3-new' WHERE id = 3`);
  await expectEqual();
  expect(await one('SELECT name FROM org WHERE id = 3')).toBe('renamed by its people');
});

test('HISTORIES 30, a delete that rows of others block moves them whole to kept', async () => {
  const membership = await one<string>('SELECT t::text FROM org_user t WHERE user_id = 2 AND org_id = 1');
  const theirs = await one<string>('SELECT t::text FROM settings t WHERE user_id = 2');
  await stream.blue('DELETE FROM user_settings WHERE id = 1');
  await expectEqual();
  const kept = await rows<{ table_name: string; row_text: string; k: number }>(
    pair.green.urls.superuser,
    'SELECT table_name, row_text, k FROM orchestrator.kept ORDER BY table_name, row_text',
  );
  expect(kept.map((r) => [r.k, r.table_name])).toEqual([
    [1, 'org_user'],
    [1, 'settings'],
    [1, 'settings'],
  ]);
  expect(kept.map((r) => r.row_text)).toEqual(expect.arrayContaining([membership, theirs]));
  expect(await one(`SELECT detail ->> 'settings' FROM orchestrator.journal WHERE event = 'kept'`)).toBe('2');
});

test('a row whose id is taken by an organisation of green gets ids of its own and a link', async () => {
  const taken = await one<number>(`SELECT l.org_id FROM orchestrator.link l WHERE l.settings_id IS NOT NULL`);
  await stream.blue(
    `INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (${taken}, 'late', 'nl')`,
  );
  await expectEqual();
  expect(await one(`SELECT org_id <> k AND settings_id <> k FROM orchestrator.link WHERE k = ${taken}`)).toBe(
    true,
  );
  await stream.blue(`UPDATE user_settings SET language = 'no' WHERE id = ${taken}`);
  await expectEqual();
  await stream.blue(`DELETE FROM user_settings WHERE id = ${taken}`);
  await expectEqual();
  expect(await one(`SELECT count(*)::integer FROM orchestrator.link WHERE k = ${taken}`)).toBe(0);
});

test('a user whose settings row green has deleted gets one again when blue changes', async () => {
  await stream.blue(`UPDATE user_settings SET language = 'pt', llm_model = 'm' WHERE id = 5`);
  await expectEqual();
  expect(await one(`SELECT count(*)::integer FROM settings WHERE language = 'pt'`)).toBe(1);
});

test('TRUNCATE takes what is ours and keeps what is not', async () => {
  await execute(
    pair.green.urls.sync,
    `INSERT INTO public.org (id, name) VALUES (900, 'a club'); INSERT INTO public.settings (id, org_id) VALUES (901, 900)`,
  );
  await stream.blue(`
    BEGIN; TRUNCATE user_settings; INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'n' || n FROM generate_series(1, 4) n; COMMIT`);
  await expectEqual();
  expect(await one(`SELECT count(*)::integer FROM org`)).toBe(5);
  expect(await one(`SELECT name FROM org WHERE id = 900`)).toBe('a club');
  expect(await one('SELECT count(*)::integer FROM orchestrator.kept')).toBe(3);
});

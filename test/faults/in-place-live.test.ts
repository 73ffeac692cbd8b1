/** 057 in place while the application writes 200 times a second: nothing is lost, and the account is exact. */
import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { MigrateDocument } from '../../orchestrator/phases/migrate.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { compareInPlace, fill055, migrateProcess } from '../support/in-place.ts';
import { foldHistory, keepHistory, startWriters } from '../support/in-place-writers.ts';
import { rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
beforeEach(async () => {
  pair = await freshPair();
  await fill055(pair, 2_500);
});
afterEach(async () => {
  await pair.drop();
});

it('200 writes a second, and a transaction that was open all the while', async () => {
  expect((await migrateProcess(pair, ['up', '--to', '056'])).ended).toBe('0');
  await keepHistory(pair);

  // Begun before the first batch, in subtransactions, and committed long after its rows were read.
  const slow = new pg.Client({ connectionString: pair.blue.urls.app });
  await slow.connect();
  await slow.query('BEGIN; SAVEPOINT a');
  await slow.query(`UPDATE user_settings SET agent = 'slow' WHERE id = 1000`);
  await slow.query('SAVEPOINT b');
  await slow.query(`INSERT INTO user_settings (id, keycloak_user_id) VALUES (900, 'slow sign-up')`);

  const writers = startWriters(pair, 200, 5);
  const ending = migrateProcess(pair, ['up', '--batch-size', '100', '--pause-between-batches', '60ms']);
  await until('half of the batches', async () => {
    const [progress] = await rows<{ n: number }>(
      pair.blue.urls.owner,
      'SELECT rows_read::integer AS n FROM orchestrate_in_place',
    ).catch(() => []);
    return (progress?.n ?? 0) > 1_500;
  });
  await slow.query('COMMIT');
  await slow.end();
  const ended = await ending;
  expect([ended.ended, ended.stderr.includes('error')]).toEqual(['0', false]);
  // Some that come after it, for the history to tell apart.
  await until('writes after 057', async () => {
    const [found] = await rows<{ n: number }>(
      pair.blue.urls.owner,
      `SELECT count(*)::integer AS n FROM history WHERE seq > (SELECT seq FROM history WHERE op = 'MARK')`,
    );
    return (found?.n ?? 0) > 50;
  });
  const { committed, failed } = await writers.stop();
  expect(failed).toEqual([]);

  const { before, after, people } = await foldHistory(pair);
  expect(before).toBeGreaterThan(200);
  expect(after).toBeGreaterThan(50);
  expect(committed).toBeGreaterThan(300);
  const document = JSON.parse(ended.stdout) as MigrateDocument;
  expect(document.in_place?.rows_again).toBeGreaterThan(50);
  const { users, differences } = await compareInPlace(pair.blue.urls.superuser, 'at_mark');
  expect(differences).toEqual([]);
  expect(users).toBe(people);
  expect(
    await rows(
      pair.blue.urls.owner,
      `SELECT s.agent FROM settings AS s WHERE s.id = 1000 AND EXISTS (SELECT FROM at_mark AS m WHERE m.id = 1000 AND m.agent = s.agent)
                                      UNION ALL SELECT u.keycloak_user_id FROM "user" AS u WHERE u.id = 900`,
    ),
  ).not.toHaveLength(0);
});

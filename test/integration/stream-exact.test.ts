import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dropDeleteIndexes } from '../../orchestrator/stream/delete-indexes.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { bothSides, type ForwardStream, forwardStream } from '../support/forward-stream.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
let stream: ForwardStream;

beforeEach(async () => {
  pair = await freshPair();
});

afterEach(async () => {
  await stream?.stop();
  await pair.drop();
});

/** Both sides hold the same facts, every key that somebody has is mapped once, and nothing is on green besides. */
async function expectEqual(least = 1): Promise<void> {
  await stream.drained();
  const { blue, green, counts } = await bothSides(pair);
  expect(blue.length).toBeGreaterThanOrEqual(least);
  expect(green).toEqual(blue);
  const { users, orgs, members, settings, ...wrong } = counts;
  expect([orgs, members, settings]).toEqual([users, users, users]);
  expect(wrong).toEqual({ misjudged: '0', vacant: '0', doubled: '0' });
}

const mappedOf = async (key: string) => {
  const found = await rows<{ id: number }>(
    pair.green.urls.superuser,
    'SELECT id FROM "user" WHERE keycloak_user_id = $1',
    [key],
  );
  return found.map((r) => r.id);
};

const parked = () =>
  rows<{ id: number; reason: string }>(
    pair.green.urls.superuser,
    'SELECT id, reason FROM orchestrator.parked ORDER BY id',
  );

describe('forward stream', () => {
  test('inserts, updates and deletes arrive, and nothing is written where nothing changed', async () => {
    await execute(
      pair.blue.urls.app,
      `INSERT INTO user_settings (id, keycloak_user_id, language, billing_margin, mcp_config)
       SELECT n, 'key-' || n, 'en', 0.0, '{"b": 1, "a": [1,  2]}' FROM generate_series(1, 50) n`,
    );
    stream = await forwardStream(pair);
    await stream.blue(`
      UPDATE user_settings SET language = 'zh-CN', llm_api_key = E'quote " back\\\\slash {brace}, NULL' WHERE id <= 10;
      UPDATE user_settings SET accepted_tos = 'infinity' WHERE id = 11;
      UPDATE user_settings SET accepted_tos = '0044-03-15 10:00:00.000001 BC', enable_sound_notifications = true WHERE id = 12;
      UPDATE user_settings SET billing_margin = '-0' WHERE id = 13;
      UPDATE user_settings SET billing_margin = 'NaN', email = '' WHERE id = 14;
      UPDATE user_settings SET mcp_config = '{"a":1,"a":"\\u0000"}' WHERE id = 15;
      INSERT INTO user_settings (id, keycloak_user_id) VALUES (60, 'new'), (61, NULL), (62, ''), (63, 'key-1');
      DELETE FROM user_settings WHERE id IN (2, 3);
    `);
    await expectEqual(50);
    const [version] = await rows<{ xmin: string }>(
      pair.green.urls.superuser,
      'SELECT xmin::text FROM settings WHERE id = 20',
    );
    await stream.blue('UPDATE user_settings SET language = language WHERE id = 20');
    await expectEqual(50);
    expect(await rows(pair.green.urls.superuser, 'SELECT xmin::text FROM settings WHERE id = 20')).toEqual([
      version,
    ]);
  });

  test('who is mapped: a holder keeps its key while it has it, a vacant key goes to the lowest parked row', async () => {
    await execute(
      pair.blue.urls.app,
      `INSERT INTO user_settings (id, keycloak_user_id) VALUES (1, 'A'), (5, 'A'), (7, 'A'), (9, 'B'), (3, NULL)`,
    );
    stream = await forwardStream(pair);
    // A lower row that gets the key later does not take it away.
    await stream.blue(`UPDATE user_settings SET keycloak_user_id = 'B' WHERE id = 3`);
    await expectEqual();
    expect(await mappedOf('B')).toEqual([9]);
    await stream.blue(`UPDATE user_settings SET keycloak_user_id = 'C' WHERE id = 1`);
    await expectEqual();
    expect([await mappedOf('A'), await mappedOf('C')]).toEqual([[5], [1]]);
    await stream.blue(`DELETE FROM user_settings WHERE id = 9`);
    await expectEqual();
    expect(await mappedOf('B')).toEqual([3]);
    await stream.blue(`UPDATE user_settings SET keycloak_user_id = '' WHERE id = 5`);
    await expectEqual();
    expect(await mappedOf('A')).toEqual([7]);
    expect(await parked()).toEqual([{ id: 5, reason: 'empty_key' }]);
  });

  test('swaps and chains of unique keys inside one batch', async () => {
    await execute(
      pair.blue.urls.app,
      `INSERT INTO user_settings (id, keycloak_user_id, language) SELECT n, 'k' || n, 'l' || n FROM generate_series(1, 9) n`,
    );
    stream = await forwardStream(pair);
    await stream.blue(`
      BEGIN;
      UPDATE user_settings SET keycloak_user_id = 'k' || (id % 9 + 1);
      UPDATE user_settings SET keycloak_user_id = CASE id WHEN 1 THEN 'k3' ELSE 'k2' END WHERE id IN (1, 2);
      COMMIT`);
    await expectEqual(9);
    expect([await mappedOf('k3'), await mappedOf('k2')]).toEqual([[1], [2]]);
  });

  test('HISTORIES 5, key with cold TOAST: values that were not sent are found on green', async () => {
    const big = `(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000))`;
    await execute(
      pair.blue.urls.app,
      `INSERT INTO user_settings (id, keycloak_user_id, mcp_config, llm_api_key)
       SELECT n, CASE WHEN n < 4 THEN NULL ELSE 'key' || n END, to_json(${big}), ${big} FROM generate_series(1, 8) n`,
    );
    stream = await forwardStream(pair);
    await stream.blue(`UPDATE user_settings SET keycloak_user_id = 'late' || id WHERE id < 4`);
    await expectEqual(8);
    await stream.blue(`UPDATE user_settings SET keycloak_user_id = NULL, language = 'x' WHERE id = 4`);
    // Another id: the stream sends neither large value of the new row.
    await stream.blue(`
      BEGIN;
      UPDATE user_settings SET language = 'fr' WHERE id = 5;
      UPDATE user_settings SET id = 105 WHERE id = 5;
      UPDATE user_settings SET id = 106, keycloak_user_id = NULL WHERE id = 6;
      UPDATE user_settings SET id = 6, keycloak_user_id = 'key106' WHERE id = 106;
      COMMIT`);
    await expectEqual(8);
    await stream.blue(`UPDATE user_settings SET llm_api_key = 'short' WHERE id = 7`);
    await expectEqual(8);
  });

  test('TRUNCATE empties green and what follows in the same transaction is there', async () => {
    await execute(
      pair.blue.urls.app,
      `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, nullif('k' || n % 7, 'k0') FROM generate_series(1, 40) n`,
    );
    stream = await forwardStream(pair);
    await stream.blue(`
      BEGIN;
      UPDATE user_settings SET language = 'gone';
      TRUNCATE user_settings;
      INSERT INTO user_settings (id, keycloak_user_id) VALUES (3, 'k1'), (4, 'k1');
      COMMIT`);
    await expectEqual(2);
    expect(await mappedOf('k1')).toEqual([3]);
    const [entry] = await rows(
      pair.green.urls.superuser,
      `SELECT detail FROM orchestrator.journal WHERE event = 'truncated'`,
    );
    expect(entry).toEqual({ detail: { rows: 40, kept: 0 } });
  });

  test('TRUNCATE stops the stream where the policy refuses it', async () => {
    await execute(pair.blue.urls.app, `INSERT INTO user_settings (id, keycloak_user_id) VALUES (1, 'a')`);
    stream = await forwardStream(pair, { truncate: 'refuse' });
    await stream.blue('TRUNCATE user_settings');
    await expect(stream.drained()).rejects.toMatchObject({ code: 'TRUNCATE_REFUSED' });
    expect(await mappedOf('a')).toEqual([1]);
  });

  test('an added column stops the stream with what was found, and nothing after it is applied', async () => {
    await execute(pair.blue.urls.app, `INSERT INTO user_settings (id, keycloak_user_id) VALUES (1, 'a')`);
    stream = await forwardStream(pair);
    await execute(pair.blue.urls.owner, 'ALTER TABLE user_settings ADD COLUMN git_user_name varchar');
    await stream.blue(`UPDATE user_settings SET keycloak_user_id = 'b' WHERE id = 1`);
    await expect(stream.drained()).rejects.toMatchObject({
      code: 'SCHEMA_CHANGED',
      detail: { found: 'columns the mapping does not know: git_user_name' },
    });
    expect(await mappedOf('a')).toEqual([1]);
  });

  test('physical column order does not matter', async () => {
    await execute(
      pair.blue.urls.owner,
      `ALTER TABLE user_settings RENAME COLUMN agent TO old_agent;
       ALTER TABLE user_settings ADD COLUMN agent varchar;
       ALTER TABLE user_settings DROP COLUMN old_agent;
       INSERT INTO user_settings (id, keycloak_user_id, agent) VALUES (1, 'a', 'CodeActAgent')`,
    );
    stream = await forwardStream(pair);
    await stream.blue(`UPDATE user_settings SET agent = 'other', language = 'en' WHERE id = 1`);
    await expectEqual();
  });

  test('a constraint of green that refuses a row stops the stream and names the row, not its values', async () => {
    await execute(
      pair.blue.urls.app,
      `INSERT INTO user_settings (id, keycloak_user_id) VALUES (1, 'a'), (2, 'b')`,
    );
    stream = await forwardStream(pair);
    await execute(pair.green.urls.owner, `ALTER TABLE settings ADD CHECK (language <> 'secret')`);
    await stream.blue(`
      BEGIN; UPDATE user_settings SET language = 'en' WHERE id = 1; UPDATE user_settings SET language = 'secret' WHERE id = 2; COMMIT`);
    const error = await stream.drained().catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: 'APPLY_CONFLICT',
      detail: { found: expect.stringContaining('source id 2') },
    });
    expect((error as { detail: { found: string } }).detail.found).toContain('settings');
    expect(
      `${(error as Error).message}${(error as { detail: { found: string } }).detail.found}`,
    ).not.toContain('secret');
    expect(stream.applier.status).toMatchObject({ fatal: true, connected: false });
  });

  test('a transaction larger than a batch is applied in parts and appears at once', async () => {
    await execute(
      pair.blue.urls.app,
      `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'k' || n FROM generate_series(1, 3000) n`,
    );
    stream = await forwardStream(pair, { maxChanges: 100, maxQueueBytes: 64 * 1024 });
    const before = stream.applier.status.appliedTransactions;
    await stream.blue(`UPDATE user_settings SET language = 'all', keycloak_user_id = 'k' || (id % 3000 + 1)`);
    await expectEqual(3000);
    // Itself and the barrier: whatever parts it was applied in.
    expect(stream.applier.status.appliedTransactions - before).toBe(2);
  });

  test('many deletions at once get indexes that answer for them, and those can be removed', async () => {
    await execute(
      pair.blue.urls.app,
      `INSERT INTO user_settings (id, keycloak_user_id, llm_api_key) SELECT n, 'k' || n, repeat(md5(n::text), 15) FROM generate_series(1, 4000) n`,
    );
    stream = await forwardStream(pair);
    const indexes = () =>
      rows(
        pair.green.urls.superuser,
        `SELECT relname FROM pg_class WHERE relname LIKE 'orchestrate_settings%'`,
      );
    await stream.blue('DELETE FROM user_settings WHERE id = 1');
    await expectEqual(3999);
    expect(await indexes()).toHaveLength(0);
    await stream.blue(`
      BEGIN;
      DELETE FROM user_settings WHERE id <= 1500;
      UPDATE user_settings SET keycloak_user_id = NULL WHERE id > 2500;
      COMMIT`);
    await expectEqual(2500);
    expect(await indexes()).toHaveLength(2);
    await withClient(pair.green.urls.sync, (client) => dropDeleteIndexes(client, stream.ctx));
    expect(await indexes()).toHaveLength(0);
  });
});

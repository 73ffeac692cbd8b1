/** What PostgreSQL's own tests of logical replication ask of a subscriber, asked of the forward stream; see test/README.md. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freshPair, type Pair } from '../support/databases.ts';
import { type ForwardStream, forwardStream } from '../support/forward-stream.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { wrongsOf } from '../support/stream-oracle.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let stream: ForwardStream | undefined;

beforeEach(async () => {
  pair = await freshPair();
});

afterEach(async () => {
  await stream?.stop();
  stream = undefined;
  await pair.drop();
});

const BIG = `(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300))`;

async function begin(count = 20): Promise<ForwardStream> {
  await execute(
    pair.blue.urls.app,
    `INSERT INTO user_settings (id, keycloak_user_id, language, llm_api_key, mcp_config)
     SELECT n, 'k' || n, 'en', ${BIG}, to_json(${BIG}) FROM generate_series(1, ${count}) n`,
  );
  stream = await forwardStream(pair);
  return stream;
}

/** Runs statements on blue as the application. */
const blue = (sql: string): Promise<void> => execute(pair.blue.urls.app, sql);

async function expectEqual(least: number): Promise<void> {
  await stream?.drained();
  const [counted] = await rows<{ n: number }>(
    pair.blue.urls.superuser,
    'SELECT count(*)::integer AS n FROM user_settings',
  );
  expect(counted?.n).toBeGreaterThanOrEqual(least);
  expect(await wrongsOf(pair)).toEqual([]);
}

test.each(['DEFAULT', 'FULL', 'USING INDEX user_settings_pkey'])(
  '001_rep_changes: values out of line that did not change, replica identity %s',
  async (identity) => {
    await execute(pair.blue.urls.owner, `ALTER TABLE user_settings REPLICA IDENTITY ${identity}`);
    await begin();
    await blue(`UPDATE user_settings SET language = 'fr' WHERE id <= 5`);
    await blue(`UPDATE user_settings SET keycloak_user_id = 'other' || id WHERE id BETWEEN 4 AND 8`);
    await blue(`UPDATE user_settings SET id = id + 100, keycloak_user_id = NULL WHERE id BETWEEN 8 AND 10`);
    await blue(
      `UPDATE user_settings SET llm_api_key = ${BIG} WHERE id = 11; DELETE FROM user_settings WHERE id = 12`,
    );
    await expectEqual(19);
  },
);

test('005_encoding, 012_collation: text that sorts and compares oddly arrives byte for byte', async () => {
  await begin(3);
  await blue(
    `UPDATE user_settings SET language = U&'\\00e4\\0061\\0308\\+01F600', agent = E'a\\u0301 ' WHERE id = 1`,
  );
  // Another normal form is another value, however a collation may compare it.
  await blue(`UPDATE user_settings SET language = U&'a\\0308\\00e4\\+01F600' WHERE id = 1`);
  await blue(`UPDATE user_settings SET keycloak_user_id = 'K2' WHERE id = 3`);
  await expectEqual(3);
});

test('006_rewrite, 008_diff_schema: a table that is rewritten by VACUUM FULL or gets an index goes on', async () => {
  await begin();
  await execute(pair.blue.urls.owner, 'CREATE INDEX ON user_settings (email)');
  await execute(pair.blue.urls.owner, 'VACUUM FULL user_settings');
  await blue(`UPDATE user_settings SET email = 'after' WHERE id <= 3`);
  await execute(pair.blue.urls.owner, 'CLUSTER user_settings USING user_settings_pkey');
  await blue(`UPDATE user_settings SET keycloak_user_id = 'again' || id WHERE id <= 3`);
  await expectEqual(20);
});

test('015_stream, 016_stream_subxact, 018_stream_subxact_abort: a transaction of thousands of subtransactions, some undone', async () => {
  await begin(50);
  await blue(`
    DO $$
    BEGIN
      FOR i IN 1..10000 LOOP
        BEGIN
          UPDATE user_settings SET user_version = i, language = 'l' || i WHERE id = 1 + i % 50;
          IF i % 7 = 0 THEN RAISE division_by_zero; END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
      END LOOP;
    END $$`);
  await expectEqual(50);
});

test('020_messages: messages of others are passed over, ours arrive with what was written before them', async () => {
  await begin();
  await rows(pair.blue.urls.sync, `SELECT pg_logical_emit_message(true, 'somebody', 'else')`);
  await rows(pair.blue.urls.sync, `SELECT pg_logical_emit_message(false, 'somebody', repeat('x', 100000))`);
  await blue(`UPDATE user_settings SET language = 'x'`);
  await stream?.drained();
  await expectEqual(20);
});

test('021_twophase: prepared transactions arrive when they are committed, and not when they are undone', async () => {
  const { ctx, applier } = await begin();
  const { migration } = ctx.names;
  await blue(
    `BEGIN; UPDATE user_settings SET language = 'kept' WHERE id = 1; PREPARE TRANSACTION '${migration} kept'`,
  );
  await blue(
    `BEGIN; UPDATE user_settings SET language = 'gone' WHERE id = 2; PREPARE TRANSACTION '${migration} gone'`,
  );
  await blue(`UPDATE user_settings SET language = 'meanwhile' WHERE id = 3`);
  await stream?.drained();
  const before = await rows<{ language: string }>(
    pair.green.urls.superuser,
    'SELECT language FROM settings WHERE id <= 3 ORDER BY id',
  );
  expect(before.map((r) => r.language)).toEqual(['en', 'en', 'meanwhile']);
  // Whoever reads the slot anew between PREPARE and COMMIT PREPARED gets it, too.
  const { reconnects } = applier.status;
  await rows(
    pair.blue.urls.superuser,
    `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1`,
    [ctx.names.slot.blue],
  );
  await until('another session', () => applier.status.reconnects > reconnects && applier.status.connected);
  await blue(`COMMIT PREPARED '${migration} kept'`);
  await blue(`ROLLBACK PREPARED '${migration} gone'`);
  await expectEqual(20);
});

test('100_bugs: a TRUNCATE of several tables, an UPDATE of nothing and an empty transaction', async () => {
  await begin();
  await execute(pair.blue.urls.owner, 'CREATE TABLE other (id integer)');
  await blue('BEGIN; UPDATE user_settings SET language = language WHERE false; COMMIT; BEGIN; COMMIT');
  await execute(
    pair.blue.urls.owner,
    `BEGIN; TRUNCATE other, user_settings; INSERT INTO user_settings (id, keycloak_user_id) VALUES (7, 'k1'); COMMIT`,
  );
  await expectEqual(1);
});

test('interleaved commits: what commits last wins, not what began last', async () => {
  await begin();
  await withClient(pair.blue.urls.app, async (early) => {
    await early.query('BEGIN');
    await early.query(`UPDATE user_settings SET language = 'early' WHERE id = 1`);
    await blue(`UPDATE user_settings SET language = 'late', keycloak_user_id = NULL WHERE id = 2`);
    await early.query(`UPDATE user_settings SET language = 'early', keycloak_user_id = 'k99' WHERE id = 2`);
    await early.query('COMMIT');
  });
  await expectEqual(20);
});

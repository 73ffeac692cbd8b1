import type pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { failure } from '../../orchestrator/errors/failure.ts';
import { parseLsn } from '../../orchestrator/pg/lsn.ts';
import { createSlot } from '../../orchestrator/stream/slot.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { emit, type ForwardStream, forwardStream, streamOf } from '../support/forward-stream.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let stream: ForwardStream;

beforeEach(async () => {
  pair = await freshPair();
  await execute(
    pair.blue.urls.app,
    `INSERT INTO user_settings (id, keycloak_user_id, user_version) SELECT n, 'k' || n, 0 FROM generate_series(1, 100) n`,
  );
  stream = await forwardStream(pair);
});

afterEach(async () => {
  await stream.stop();
  await pair.drop();
});

const PICTURE_BLUE = `SELECT id, user_version, language FROM user_settings ORDER BY id`;
const PICTURE_GREEN = `SELECT id, settings_version AS user_version, language FROM settings ORDER BY id`;

test('a cut shows both sides at the same instant, while writers go on', async () => {
  const { applier, ctx } = stream;
  let writing = true;
  const load = Promise.all(
    [1, 2, 3, 4].map((writer) =>
      withClient(pair.blue.urls.app, async (client) => {
        for (let n = 0; writing; n++)
          await client.query(
            'UPDATE user_settings SET user_version = user_version + 1, language = $2 WHERE id = $1',
            [writer * 20 + (n % 20), `${writer}.${n}`],
          );
      }),
    ),
  );
  let differing = 0;
  for (let round = 0; round < 8; round++) {
    const pictures: { blue: unknown[]; green: unknown[] } = { blue: [], green: [] };
    const green = withSnapshot();
    let cut: Promise<string> | undefined;
    await applier.holdBack(async () => {
      const slot = await createSlot(ctx, 'blue', {
        name: `cut_${round}_${ctx.names.migration.slice(2)}`,
        temporary: true,
        onConsistentPoint: (lsn) => {
          cut = applier.cutBefore(lsn, () => green.take());
          cut.catch(() => {});
        },
      });
      await emit(pair, ctx, `mark ${round}`);
      await withClient(pair.blue.urls.superuser, async (client) => {
        await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
        await client.query(`SET TRANSACTION SNAPSHOT '${slot.snapshot}'`);
        pictures.blue = (await client.query(PICTURE_BLUE)).rows;
      });
      await slot.release();
    });
    await cut;
    pictures.green = await green.rows();
    expect(pictures.blue.length).toBe(100);
    expect(pictures.green, `round ${round}`).toEqual(pictures.blue);
    const now = await withClient(
      pair.blue.urls.superuser,
      async (client) => (await client.query(PICTURE_BLUE)).rows,
    );
    if (JSON.stringify(now) !== JSON.stringify(pictures.blue)) differing += 1;
  }
  writing = false;
  await load;
  // The pictures were of a moving table, or this proves nothing.
  expect(differing).toBeGreaterThan(4);
});

/** A session on green that takes its snapshot when told and reads later. */
function withSnapshot(): { take(): Promise<string>; rows(): Promise<unknown[]> } {
  let taken: (() => void) | undefined;
  let read: ((rows: unknown[]) => void) | undefined;
  const rows = new Promise<unknown[]>((resolve) => {
    read = resolve;
  });
  let begin: (() => void) | undefined;
  const told = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const snapshot = new Promise<void>((resolve) => {
    taken = resolve;
  });
  void withClient(pair.green.urls.superuser, async (client: pg.Client) => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await told;
    await client.query('SELECT 1 FROM settings LIMIT 1');
    taken?.();
    // Later commits must not show.
    await stream.drained();
    read?.((await client.query(PICTURE_GREEN)).rows);
  });
  return {
    take: async () => {
      begin?.();
      await snapshot;
      return 'taken';
    },
    rows: () => rows,
  };
}

test('a cut that is named while a batch is at work ends it there', async () => {
  await stream.stop();
  stream = await streamOf(pair, stream.ctx, { maxChanges: 2 });
  const { applier } = stream;
  const seen = await withClient(pair.green.urls.superuser, async (holder) => {
    await holder.query('BEGIN; SELECT FROM settings WHERE id = 1 FOR UPDATE');
    // A whole batch, which waits for that row; the commit it belongs to is not read yet.
    await stream.blue(`UPDATE user_settings SET language = 'before' WHERE id <= 2`);
    await until('the batch waits', async () => (await waiting()).length > 0);
    const at = parseLsn(
      (await rows<{ lsn: string }>(pair.blue.urls.sync, 'SELECT pg_current_wal_lsn()::text AS lsn'))[0]
        ?.lsn ?? '',
    );
    const cut = applier.cutBefore(at, () =>
      rows<{ language: string }>(
        pair.green.urls.superuser,
        'SELECT language FROM settings WHERE id IN (1, 3) ORDER BY id',
      ),
    );
    cut.catch(() => {});
    await stream.blue(`UPDATE user_settings SET language = 'after' WHERE id = 3`);
    await until('what comes after it', () => Promise.resolve(applier.status.queueChanges > 0));
    await holder.query('COMMIT');
    // Whatever the batch took with it, something comes that the cut can end at.
    await stream.drained();
    await stream.drained();
    return cut;
  });
  expect(seen).toEqual([{ language: 'before' }, { language: null }]);
});

const waiting = () =>
  rows(
    pair.green.urls.superuser,
    `SELECT FROM pg_stat_activity WHERE application_name = 'orchestrate/apply-forward' AND wait_event_type = 'Lock' AND datname = current_database()`,
  );

test('a cut before what is applied already is refused', async () => {
  await stream.blue(`UPDATE user_settings SET language = 'x'`);
  await stream.drained();
  await expect(stream.applier.cutBefore(1n, async () => undefined)).rejects.toMatchObject({
    code: 'CUT_MISSED',
  });
});

test('what runs at the cut may fail without harm to the stream', async () => {
  const { applier, ctx } = stream;
  await stream.drained();
  const cut = applier.cutBefore(2n ** 63n - 1n, async () => undefined);
  const refused = cut.catch((error: unknown) => error);
  await stream.blue(`UPDATE user_settings SET language = 'x'`);
  await stream.drained();
  await applier.stop();
  expect(await refused).toMatchObject({ code: 'STREAM_BROKEN' });
  stream = await streamOf(pair, ctx);
  await stream.drained();
  const failing = stream.applier.cutBefore(stream.applier.status.appliedLsn, async () => {
    throw failure('TIMED_OUT');
  });
  const failed = failing.catch((error: unknown) => error);
  await stream.blue(`UPDATE user_settings SET language = 'y'`);
  expect(await failed).toMatchObject({ code: 'TIMED_OUT' });
  await stream.drained();
});

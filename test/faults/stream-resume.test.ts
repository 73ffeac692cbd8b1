import pg from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { parseLsn } from '../../orchestrator/pg/lsn.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import {
  bothSides,
  drained,
  emit,
  type ForwardStream,
  forwardStream,
  streamOf,
} from '../support/forward-stream.ts';
import { copied } from '../support/green-serving.ts';
import { proxyTo } from '../support/proxy.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let stream: ForwardStream | undefined;

beforeEach(async () => {
  pair = await freshPair();
  await execute(
    pair.blue.urls.app,
    `INSERT INTO user_settings (id, keycloak_user_id, user_version) SELECT n, 'k' || n, 0 FROM generate_series(1, 200) n`,
  );
});

afterEach(async () => {
  await stream?.stop();
  stream = undefined;
  await pair.drop();
});

async function expectEqual(): Promise<void> {
  const { blue, green } = await bothSides(pair);
  expect(blue.length).toBeGreaterThan(100);
  expect(green).toEqual(blue);
}

/** Writes until told to end: counters that only go up, so a lost or repeated batch shows. */
function writers(count: number): { end(): Promise<number> } {
  let running = true;
  const all = Array.from({ length: count }, (_, writer) =>
    withClient(pair.blue.urls.app, async (client) => {
      let commits = 0;
      for (; running; commits++)
        await client.query(
          'UPDATE user_settings SET user_version = user_version + 1, language = $2 WHERE id = $1',
          [1 + writer * 20 + (commits % 20), `w${writer} ${commits}`],
        );
      return commits;
    }),
  );
  return {
    end: async () => {
      running = false;
      return (await Promise.all(all)).reduce((a, b) => a + b, 0);
    },
  };
}

const progress = async () => {
  const [row] = await rows<{ lsn: string }>(
    pair.green.urls.superuser,
    `SELECT lsn::text FROM orchestrator.progress WHERE direction = 'forward'`,
  );
  return parseLsn(row?.lsn ?? '0/0');
};

const confirmed = async (slot: string) => {
  const [row] = await rows<{ lsn: string }>(
    pair.blue.urls.superuser,
    'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  );
  return parseLsn(row?.lsn ?? '0/0');
};

const terminate = (url: string, name: string) =>
  rows(
    url,
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()`,
    [name],
  );

describe('resuming', () => {
  test('sessions that are killed on either side under load: nothing lost, nothing twice', async () => {
    stream = await forwardStream(pair, { maxChanges: 20 });
    const { applier } = stream;
    const load = writers(4);
    for (let n = 0; n < 6; n++) {
      const before = applier.status;
      await until('some progress', () => applier.status.appliedChanges > before.appliedChanges + 50);
      if (n % 2 === 0) await terminate(pair.blue.urls.superuser, 'orchestrate/tail');
      else await terminate(pair.green.urls.superuser, 'orchestrate/apply-forward');
      await until(
        'a reconnection',
        () => applier.status.reconnects > before.reconnects && applier.status.connected,
      );
    }
    expect(await load.end()).toBeGreaterThan(300);
    await stream.drained();
    await expectEqual();
  });

  test('HISTORIES 7, acknowledge + 1: adjacent commits survive consumers that stop at any of them', async () => {
    const ctx = await copied(pair);
    const load = writers(8);
    for (let n = 0; n < 12; n++) {
      stream = await streamOf(pair, ctx, { maxChanges: 1 + n });
      const { applier } = stream;
      await until('some progress', () => applier.status.appliedTransactions > 20);
      const stored = await applier.stop();
      expect(stored).toBe(await progress());
      // I3: never ahead of what is durable.
      expect(await confirmed(ctx.names.slot.blue)).toBeLessThanOrEqual(stored);
    }
    await load.end();
    stream = await streamOf(pair, ctx);
    await stream.drained();
    await expectEqual();
  });

  test('HISTORIES 2, late batch: one whose answer was lost counts once, and its waiters are told', async () => {
    const proxy = await proxyTo(pair.green.urls.sync);
    try {
      const direct = await copied(pair);
      const ctx = {
        ...direct,
        endpoints: { ...direct.endpoints, green: parseEndpoint('green', proxy.url(pair.green.urls.sync)) },
      };
      stream = await streamOf(pair, ctx);
      const { applier } = stream;
      await stream.blue(`UPDATE user_settings SET language = 'before'`);
      await drained(pair, ctx, applier);
      const arrived = applier.waitForMessage('late', AbortSignal.timeout(30_000));
      proxy.holdAnswersTo('COMMIT');
      await execute(
        pair.blue.urls.sync,
        `BEGIN; UPDATE public.user_settings SET user_version = user_version + 1; SELECT pg_logical_emit_message(true, '${ctx.names.messagePrefix}', 'late'); COMMIT`,
      );
      await until('the batch to land', async () => {
        const [landed] = await rows(
          pair.green.urls.superuser,
          'SELECT FROM settings WHERE id = 7 AND settings_version = 1',
        );
        return landed !== undefined;
      });
      // Nobody here has heard of it: the commit's answer did not arrive, and the stream will not send it again.
      expect(applier.status.appliedChanges).toBe(200);
      proxy.flow();
      proxy.cut();
      await arrived;
      await drained(pair, ctx, applier);
      await expectEqual();
    } finally {
      await stream?.stop();
      await proxy.close();
    }
  });

  test('HISTORIES 2, late batch: a former session that still holds the position is ended before it is read', async () => {
    stream = await forwardStream(pair);
    const { applier, ctx } = stream;
    await stream.drained();
    // The batch's session stands still in the middle of it, as after a lost connection that the server has not noticed.
    const blocker = new pg.Client({ connectionString: pair.green.urls.superuser });
    await blocker.connect();
    try {
      await blocker.query('BEGIN; SELECT FROM settings WHERE id = 7 FOR UPDATE');
      await stream.blue(`UPDATE user_settings SET user_version = 77 WHERE id = 7`);
      const stuck = await until('the batch to wait', async () => {
        const [row] = await rows<{ pid: number }>(
          pair.green.urls.superuser,
          `SELECT pid FROM pg_stat_activity WHERE application_name = 'orchestrate/apply-forward' AND wait_event_type = 'Lock' AND datname = current_database()`,
        );
        return row?.pid;
      });
      await terminate(pair.blue.urls.superuser, 'orchestrate/tail');
      await blocker.query('ROLLBACK');
      await drained(pair, ctx, applier);
      await expectEqual();
      expect(stuck).toBeGreaterThan(0);
    } finally {
      await blocker.end();
    }
  });

  test('an idle stream stores and acknowledges how far the source has read', async () => {
    stream = await forwardStream(pair);
    const { applier, ctx } = stream;
    await stream.drained();
    await execute(
      pair.blue.urls.owner,
      'CREATE TABLE other AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n',
    );
    const [now] = await rows<{ lsn: string }>(
      pair.blue.urls.superuser,
      'SELECT pg_current_wal_lsn()::text AS lsn',
    );
    const target = parseLsn(now?.lsn ?? '');
    await applier.waitForLsn(target, AbortSignal.timeout(20_000));
    expect(await progress()).toBeGreaterThanOrEqual(target);
    await until('the slot to follow', async () => (await confirmed(ctx.names.slot.blue)) >= target);
    expect(await confirmed(ctx.names.slot.blue)).toBeLessThanOrEqual(await progress());
    await until('a lag of zero', () => applier.status.lagBytes === 0n && applier.status.lagSeconds === 0);
  });

  test('between runs work on the destination between batches, in one transaction', async () => {
    stream = await forwardStream(pair);
    const { applier } = stream;
    const answer = await applier.between(async (client) => {
      await client.query(`UPDATE public.settings SET language = 'between' WHERE id = 1`);
      return 42;
    });
    expect(answer).toBe(42);
    const failing = applier.between(async (client) => {
      await client.query(`UPDATE public.settings SET language = 'undone' WHERE id = 1`);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    await stream.drained();
    expect(await rows(pair.green.urls.superuser, 'SELECT language FROM settings WHERE id = 1')).toEqual([
      { language: 'between' },
    ]);
  });

  test('a stop ends with the batch in flight, and waiters are refused', async () => {
    stream = await forwardStream(pair);
    const { applier, ctx } = stream;
    const waiting = applier.waitForMessage('never', AbortSignal.timeout(30_000));
    const refused = waiting.catch((error: unknown) => error);
    await applier.stop();
    expect(await refused).toMatchObject({ code: 'STREAM_BROKEN' });
    await emit(pair, ctx, 'never');
    await expect(applier.waitForMessage('never', AbortSignal.timeout(1_000))).rejects.toMatchObject({
      code: 'STREAM_BROKEN',
    });
  });
});

describe('I13, identity', () => {
  const startWith = async (change: string, side: 'blue' | 'green') => {
    const ctx = await copied(pair);
    for (const statement of change.split(';'))
      await execute(pair[side].urls.superuser, statement.replaceAll('SLOT', ctx.names.slot.blue));
    stream = await streamOf(pair, ctx);
  };

  test('a slot that is gone', async () => {
    await expect(startWith(`SELECT pg_drop_replication_slot('SLOT')`, 'blue')).rejects.toMatchObject({
      code: 'SLOT_MISSING',
    });
  });

  test('a slot that was made anew', async () => {
    await expect(
      startWith(
        `SELECT pg_drop_replication_slot('SLOT'); SELECT pg_logical_emit_message(true, 'a', 'b');
         SELECT pg_create_logical_replication_slot('SLOT', 'pgoutput')`,
        'blue',
      ),
    ).rejects.toMatchObject({ code: 'SLOT_AHEAD' });
  });

  test('a slot that has confirmed what is not stored', async () => {
    await expect(
      startWith(
        `SELECT pg_logical_emit_message(true, 'a', 'b'); SELECT pg_replication_slot_advance('SLOT', pg_current_wal_lsn())`,
        'blue',
      ),
    ).rejects.toMatchObject({
      code: 'SLOT_AHEAD',
      detail: { found: expect.stringMatching(/stored .*confirmed/) },
    });
  });

  test('HISTORIES 8, failover slot behind: a stored position the server has not written', async () => {
    await expect(
      startWith(`UPDATE orchestrator.progress SET lsn = lsn + 100000000`, 'green'),
    ).rejects.toMatchObject({ code: 'STORED_AHEAD' });
  });

  test('another server', async () => {
    await expect(
      startWith(`UPDATE orchestrator.progress SET system_identifier = '1'`, 'green'),
    ).rejects.toMatchObject({ code: 'IDENTITY_CHANGED' });
  });

  test('another timeline', async () => {
    await expect(startWith(`UPDATE orchestrator.progress SET timeline = 9`, 'green')).rejects.toMatchObject({
      code: 'IDENTITY_CHANGED',
    });
  });

  test('a publication that lost its table', async () => {
    await expect(startWith('ALTER PUBLICATION SLOT SET (publish = insert)', 'blue')).rejects.toMatchObject({
      code: 'PUBLICATION_CHANGED',
    });
  });

  test('a runner whose epoch is over changes nothing', async () => {
    stream = await forwardStream(pair);
    await stream.drained();
    await execute(pair.green.urls.superuser, 'UPDATE orchestrator.side SET epoch = epoch + 1');
    await stream.blue(`UPDATE user_settings SET language = 'zombie' WHERE id = 1`);
    await expect(stream.drained()).rejects.toMatchObject({ code: 'STALE_EPOCH' });
    expect(await rows(pair.green.urls.superuser, 'SELECT language FROM settings WHERE id = 1')).toEqual([
      { language: null },
    ]);
  });
});

import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseLsn } from '../../orchestrator/pg/lsn.ts';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { prepare } from '../../orchestrator/phases/prepare.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { runContext, type TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let ctx: TestContext;
beforeEach(async () => {
  pair = await freshPair();
  // Slots belong to the whole server, so each test needs a migration name of its own.
  ctx = runContext(pair, `t-${randomBytes(4).toString('hex')}`);
});
afterEach(async () => {
  await pair.drop();
});

const FENCES = `
  SELECT c.relname, t.tgenabled
  FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
  WHERE t.tgname = 'orchestrate_fence' ORDER BY c.relname`;

const refusedBy = async (url: string, sql: string): Promise<string | undefined> =>
  execute(url, sql).then(
    () => undefined,
    (error: { code: string }) => error.code,
  );

test('prepare makes everything, the slot comes with a usable snapshot, and both sides say who serves', async () => {
  await execute(pair.blue.urls.app, `INSERT INTO user_settings (keycloak_user_id) VALUES ('a'), ('b')`);
  await ensureControl(ctx);
  const { slot, madeOrgTables } = await prepare(ctx);
  try {
    expect(madeOrgTables).toBe(true);
    const [blueRow] = await rows(
      pair.blue.urls.sync,
      'SELECT side, role, generation, epoch FROM orchestrator.side',
    );
    const [greenRow] = await rows(
      pair.green.urls.sync,
      'SELECT side, role, generation, epoch FROM orchestrator.side',
    );
    expect([blueRow, greenRow]).toEqual([
      { side: 'blue', role: 'serving', generation: '0', epoch: '0' },
      { side: 'green', role: 'standby', generation: '0', epoch: '0' },
    ]);
    const [progress] = await rows<{
      direction: string;
      slot: string;
      lsn: string;
      system_identifier: string;
    }>(
      pair.green.urls.sync,
      'SELECT direction, slot, lsn::text, system_identifier FROM orchestrator.progress',
    );
    expect(progress).toMatchObject({ direction: 'forward', slot: ctx.names.slot.blue });
    expect(parseLsn(progress?.lsn ?? '')).toBe(slot.consistentPoint);
    expect(progress?.system_identifier).toBe(slot.systemIdentifier);

    // Blue's fence costs nothing, green's refuses; ours may write.
    expect(await rows(pair.blue.urls.sync, FENCES)).toEqual([{ relname: 'user_settings', tgenabled: 'D' }]);
    expect((await rows(pair.green.urls.sync, FENCES)).map((r) => r.tgenabled)).toEqual([
      'A',
      'A',
      'A',
      'A',
      'A',
    ]);
    expect(await refusedBy(pair.green.urls.app, `INSERT INTO org (name) VALUES ('x')`)).toBe('25006');
    expect(
      await refusedBy(pair.blue.urls.app, `INSERT INTO user_settings (keycloak_user_id) VALUES ('c')`),
    ).toBe(undefined);
    expect(
      await rows(pair.green.urls.sync, 'SELECT last_value, is_called FROM orchestrator.fence_refused'),
    ).toEqual([{ last_value: '1', is_called: true }]);

    // The snapshot is the one of the slot: the third row came later.
    const seen = await withClient(pair.blue.urls.sync, async (client) => {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      await client.query(`SET TRANSACTION SNAPSHOT '${slot.snapshot}'`);
      return (await client.query('SELECT FROM user_settings')).rowCount;
    });
    expect(seen).toBe(2);
  } finally {
    await slot.release();
  }
});

test('two calls of ensureControl at once make one control schema a side', async () => {
  const endings = await Promise.all([ensureControl(ctx), ensureControl(ctx), ensureControl(ctx)]);
  expect(endings).toEqual([null, null, null]);
  expect(await rows(pair.green.urls.sync, 'SELECT FROM orchestrator.migration')).toHaveLength(1);
});

test('a migration of another name is refused', async () => {
  await ensureControl(ctx);
  await expect(ensureControl(runContext(pair, 'another'))).rejects.toMatchObject({ code: 'OTHER_MIGRATION' });
});

test('exchanged URLs are refused once control schemas exist', async () => {
  await ensureControl(ctx);
  const swapped = runContext({ blue: pair.green, green: pair.blue }, ctx.names.migration);
  await expect(ensureControl(swapped)).rejects.toMatchObject({ code: 'IDENTITY_CHANGED' });
});

test('a green that lost its control schema is another server; a blue that never got one is finished', async () => {
  await ensureControl(ctx);
  await execute(pair.blue.urls.sync, 'DROP SCHEMA orchestrator CASCADE');
  await ensureControl(ctx);
  expect(await rows(pair.blue.urls.sync, 'SELECT role FROM orchestrator.side')).toEqual([
    { role: 'serving' },
  ]);
  await execute(pair.green.urls.sync, 'DROP SCHEMA orchestrator CASCADE');
  await expect(ensureControl(ctx)).rejects.toMatchObject({ code: 'IDENTITY_CHANGED' });
});

describe('repeated after a death', () => {
  const attempt = async (): Promise<void> => {
    await ensureControl(ctx);
    const { slot } = await prepare(ctx);
    await slot.release();
  };

  test('a finished one is done again, with a new slot and its position', async () => {
    await attempt();
    const [first] = await rows<{ lsn: string }>(
      pair.green.urls.sync,
      'SELECT lsn::text FROM orchestrator.progress',
    );
    await execute(pair.blue.urls.app, `INSERT INTO user_settings (keycloak_user_id) VALUES ('a')`);
    await attempt();
    const [second] = await rows<{ lsn: string }>(
      pair.green.urls.sync,
      'SELECT lsn::text FROM orchestrator.progress',
    );
    expect(parseLsn(second?.lsn ?? '')).toBeGreaterThan(parseLsn(first?.lsn ?? ''));
    expect(await rows(pair.blue.urls.sync, 'SELECT FROM pg_publication')).toHaveLength(1);
    const slots = await rows<{ confirmed: string }>(
      pair.blue.urls.sync,
      'SELECT confirmed_flush_lsn::text AS confirmed FROM pg_replication_slots WHERE slot_name = $1',
      [ctx.names.slot.blue],
    );
    expect(slots.map((s) => s.confirmed)).toEqual([second?.lsn]);
  });

  test('a slot whose position was never stored is made anew', async () => {
    await ensureControl(ctx);
    await withClient(pair.blue.urls.sync, (client) =>
      client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [ctx.names.slot.blue]),
    );
    const { slot } = await prepare(ctx);
    await slot.release();
    const [progress] = await rows<{ lsn: string }>(
      pair.green.urls.sync,
      'SELECT lsn::text FROM orchestrator.progress',
    );
    expect(parseLsn(progress?.lsn ?? '')).toBe(slot.consistentPoint);
  });

  test('what was there before is remembered from the first time only', async () => {
    await ensureControl(ctx);
    await execute(
      pair.green.urls.sync,
      `INSERT INTO orchestrator.before VALUES ('migrations', '["056-create-org-tables"]')`,
    );
    const { slot, madeOrgTables } = await prepare(ctx);
    await slot.release();
    expect(madeOrgTables).toBe(false);
  });
});

test('a stale epoch changes nothing (I10)', async () => {
  await ensureControl(ctx);
  await execute(pair.green.urls.sync, 'UPDATE orchestrator.side SET epoch = 5');
  await execute(pair.blue.urls.sync, 'UPDATE orchestrator.side SET epoch = 5');
  await expect(prepare(ctx)).rejects.toMatchObject({ code: 'STALE_EPOCH' });
  expect(await rows(pair.green.urls.sync, `SELECT to_regclass('public.org') AS org`)).toEqual([
    { org: null },
  ]);
});

test('rows of somebody else on green are refused, and stay', async () => {
  await ensureControl(ctx);
  await (await prepare(ctx)).slot.release();
  await execute(pair.green.urls.sync, `INSERT INTO public.org (name) VALUES ('theirs')`);
  await expect(prepare(ctx)).rejects.toMatchObject({ code: 'NOT_OUR_ROWS' });
  expect(await rows(pair.green.urls.sync, 'SELECT name FROM public.org')).toEqual([{ name: 'theirs' }]);
});

test('an open writer and a prepared transaction are named when they keep preparation waiting', async () => {
  await ensureControl(ctx);
  await execute(
    pair.blue.urls.app,
    `BEGIN; INSERT INTO user_settings (keycloak_user_id) VALUES ('p'); PREPARE TRANSACTION 'held by a test'`,
  );
  await withClient(pair.blue.urls.app, async (writer) => {
    await writer.query('BEGIN');
    await writer.query(`INSERT INTO user_settings (keycloak_user_id) VALUES ('w')`);
    const [{ pid } = { pid: 0 }] = (await writer.query<{ pid: number }>('SELECT pg_backend_pid() AS pid'))
      .rows;
    const error = await prepare(ctx, { lockWaitMs: 1_000 }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'LOCK_TIMEOUT' });
    expect((error as { detail: { found: string } }).detail.found).toBe(
      `pid ${pid}, prepared transaction 'held by a test'`,
    );
    await writer.query('ROLLBACK');
  });
  await withClient(pair.blue.urls.app, (client) => client.query(`ROLLBACK PREPARED 'held by a test'`));
});

test('preparation that waits for a writer goes on when the writer ends', async () => {
  await ensureControl(ctx);
  await withClient(pair.blue.urls.app, async (writer) => {
    await writer.query('BEGIN');
    await writer.query(`INSERT INTO user_settings (keycloak_user_id) VALUES ('w')`);
    const prepared = prepare(ctx);
    await until('preparation to wait for the writer', async () => {
      const waiting = await rows(
        pair.blue.urls.superuser,
        `SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.user_settings'::regclass`,
      );
      return waiting.length > 0;
    });
    await writer.query('COMMIT');
    const { slot } = await prepared;
    await slot.release();
  });
});

/** HISTORIES 11, 12, 18, 19 and 20 on real servers: calls of the handover that come late, stall, or meet an autovacuum. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { CONTROL_BOTH } from '../../migrations/control-schema.ts';
import { fencedTables, installFence, readFence, setFence } from '../../orchestrator/fence/fence.ts';
import { connect } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { formatLsn } from '../../orchestrator/pg/lsn.ts';
import { transaction } from '../../orchestrator/pg/transaction.ts';
import { decide } from '../../orchestrator/phases/handover/decide.ts';
import { type Frozen, freeze, serverClock } from '../../orchestrator/phases/handover/freeze.ts';
import { arm, reopen } from '../../orchestrator/phases/handover/open.ts';
import { yieldVacuums } from '../../orchestrator/phases/handover/vacuum.ts';
import type { Context } from '../../orchestrator/state/context.ts';
import { identify } from '../../orchestrator/stream/slot.ts';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { proxyTo } from '../support/proxy.ts';
import { runContext } from '../support/run-context.ts';
import { rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

const MIGRATION = 'histories';
const BUDGET_MS = 10_000;

let pair: OwnPair;
let ctx: Context;
let sync: pg.Client;
let app: pg.Client;
let epoch = 1n;

beforeAll(async () => {
  // An autovacuum that begins by itself, and takes its time.
  pair = await ownPair({
    blue: {
      autovacuum_naptime: '1s',
      autovacuum_vacuum_cost_delay: '100ms',
      autovacuum_vacuum_cost_limit: '1',
    },
  });
  const endpoint = parseEndpoint('blue', pair.blue.urls.sync);
  ctx = {
    ...runContext(pair, MIGRATION),
    endpoints: { blue: endpoint, green: endpoint },
    claim: () => ({ migration: MIGRATION, epoch, generation: 0n }),
  };
  sync = await connect(endpoint, { purpose: 'test' });
  app = new pg.Client({ connectionString: pair.blue.urls.app });
  app.on('error', () => {});
  await app.connect();
  await transaction(sync, async () => {
    await sync.query(CONTROL_BOTH);
    await sync.query(`GRANT USAGE ON SCHEMA orchestrator TO ${pair.blue.roles.owner}`);
    await sync.query(`GRANT USAGE ON ALL SEQUENCES IN SCHEMA orchestrator TO ${pair.blue.roles.owner}`);
    await sync.query(
      `INSERT INTO orchestrator.side (migration, side, epoch, role) VALUES ('${MIGRATION}', 'blue', 1, 'serving')`,
    );
    await installFence(sync, ctx, 'blue', 'open', pair.blue.roles.owner);
  });
});
beforeEach(async () => {
  await sync.query(`UPDATE orchestrator.side SET role = 'serving'`);
  await transaction(sync, () => setFence(sync, ctx, 'blue', 'open'));
});
afterAll(async () => {
  await app?.end();
  await sync?.end();
  await pair?.drop();
});

const write = () => app.query(`INSERT INTO user_settings (keycloak_user_id) VALUES ('k')`);
const session = () => connect(ctx.endpoints.blue, { purpose: 'test' });
const lease = async (client: pg.Client, seconds: number): Promise<{ attempt: string; frozen: Frozen }> => {
  const attempt = randomUUID();
  const now = await serverClock(sync);
  return { attempt, frozen: await freeze(client, ctx, 'blue', attempt, now + seconds, now + seconds) };
};
/** Decides for `attempt` as the handover does; the stream back is prepared as far as `decide` looks. */
const deciding = async (client: pg.Client, attempt: string, frozen: Frozen) => {
  const { systemIdentifier, timeline, flushedLsn: position } = await identify(sync);
  await sync.query('DELETE FROM orchestrator.progress');
  await sync.query(
    `INSERT INTO orchestrator.progress (direction, slot, system_identifier, timeline, consistent_point, lsn)
     VALUES ('reverse', 'back', $1, $2, '0/1', '0/1')`,
    [systemIdentifier, timeline],
  );
  const back = { systemIdentifier, timeline, slot: 'back', position };
  expect(formatLsn(position)).not.toBe('0/0');
  await decide(client, ctx, 'blue', 'cutover', attempt, frozen, back, BUDGET_MS, 20_000);
};
const waiting = async (): Promise<number> =>
  (await rows(pair.blue.urls.superuser, `SELECT FROM pg_locks WHERE NOT granted`)).length;
const decisions = () => rows(pair.blue.urls.superuser, 'SELECT FROM orchestrator.decision');

it('HISTORIES 11, late decide: abandoned while it waits for the lock, it finds the next epoch and changes nothing', async () => {
  const { attempt, frozen } = await lease(sync, 60);
  const holder = await session();
  const abandoned = await session();
  await holder.query('BEGIN; LOCK TABLE public.user_settings IN ROW EXCLUSIVE MODE');
  const late = deciding(abandoned, attempt, frozen).then(
    () => 'decided',
    (error: { code?: string }) => error.code,
  );
  await until('decide to wait', async () => (await waiting()) > 0);
  // Nobody waits for its answer any more: the next epoch, then the truth, then open.
  await sync.query('UPDATE orchestrator.side SET epoch = epoch + 1');
  epoch += 1n;
  expect(await decisions()).toEqual([]);
  const reopened = reopen(sync, ctx, 'blue', attempt, 20_000);
  await until('reopen to wait behind it', async () => (await waiting()) > 1);
  await holder.query('COMMIT');
  expect(await late).toBe('STALE_EPOCH');
  await reopened;
  await write();
  expect(await decisions()).toEqual([]);
  await Promise.all([holder.end(), abandoned.end()]);
});

it('HISTORIES 12, late open: while it is open nobody gets the next epoch; once that is taken it opens nothing', async () => {
  await sync.query(`UPDATE orchestrator.side SET role = 'standby'`);
  await transaction(sync, () => setFence(sync, ctx, 'blue', 'closed'));
  const abandoned = await session();
  await abandoned.query('BEGIN');
  await arm(abandoned, ctx, 'blue', 0n, '0/1', 1_000);
  const next = await session();
  const taken = next.query('UPDATE orchestrator.side SET epoch = epoch + 1');
  await until('the next epoch to wait for the open one', async () => (await waiting()) > 0);
  const [{ pid } = { pid: 0 }] = (await abandoned.query<{ pid: number }>('SELECT pg_backend_pid() AS pid'))
    .rows;
  await sync.query('SELECT pg_terminate_backend($1)', [pid]);
  await taken;
  expect((await readFence(sync, ctx, 'blue')).state).toBe('closed');
  // And one that begins only now is of the old epoch.
  await next.query('BEGIN');
  await expect(arm(next, ctx, 'blue', 0n, '0/1', 1_000)).rejects.toMatchObject({ code: 'STALE_EPOCH' });
  await next.query('ROLLBACK');
  epoch += 1n;
  await expect(write()).rejects.toMatchObject({ code: '25006' });
  await Promise.all([abandoned.end().catch(() => {}), next.end()]);
});

it('HISTORIES 18, clock steps: one statement that passed an expired lease is enough for decide to refuse, whatever the clock says', async () => {
  const { attempt, frozen } = await lease(sync, 60);
  // As a statement does that saw the deadline pass before the clock was set back; it survives a rollback.
  await app.query('BEGIN');
  await rows(pair.blue.urls.owner, `SELECT nextval('orchestrator.fence_late')`);
  await app.query('ROLLBACK');
  await expect(deciding(sync, attempt, frozen)).rejects.toMatchObject({
    code: 'HANDOVER_ABORTED',
    detail: { found: 'a statement has passed an expired lease' },
  });
  expect(await decisions()).toEqual([]);
});

it('HISTORIES 18, clock steps: past the deadline decide refuses by the clock alone', async () => {
  const { attempt, frozen } = await lease(sync, 0.4);
  await until('the lease to lapse', async () => (await readFence(sync, ctx, 'blue')).state === 'lapsed');
  await expect(deciding(sync, attempt, frozen)).rejects.toMatchObject({
    code: 'HANDOVER_ABORTED',
    detail: { found: 'the fence lease has run out' },
  });
});

it('HISTORIES 19, stalled client with the lock: one that never hears of its freeze holds no lock, and writes come back', async () => {
  const proxy = await proxyTo(pair.blue.urls.sync);
  const stalled = await connect(parseEndpoint('blue', proxy.url(pair.blue.urls.sync)), { purpose: 'test' });
  stalled.on('error', () => {});
  proxy.holdAnswersTo('orchestrator.freeze');
  void lease(stalled, 2).catch(() => {});
  await until('the freeze to be there', async () => (await readFence(sync, ctx, 'blue')).state === 'leased');
  const held = await rows(
    pair.blue.urls.superuser,
    `SELECT FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND granted AND relation = 'public.user_settings'::regclass`,
  );
  expect(held).toEqual([]);
  await until('a write to pass', () =>
    write().then(
      () => true,
      () => false,
    ),
  );
  await proxy.close();
  await stalled.end().catch(() => {});
});

const VACUUMING = `
  SELECT k.pid FROM pg_locks AS k JOIN pg_stat_activity AS a ON a.pid = k.pid
  WHERE a.backend_type = 'autovacuum worker' AND k.relation = 'public.user_settings'::regclass
    AND k.mode = 'ShareUpdateExclusiveLock' AND k.granted`;
const vacuuming = () => rows<{ pid: number }>(pair.blue.urls.superuser, VACUUMING);
const beVacuumed = async (): Promise<number> => {
  await app.query(
    `INSERT INTO user_settings (keycloak_user_id, llm_model) SELECT 'v' || n, repeat('x', 500) FROM generate_series(1, 20000) AS n`,
  );
  await app.query(`DELETE FROM user_settings WHERE llm_model IS NOT NULL`);
  return until('an autovacuum to hold the table', async () => (await vacuuming())[0]?.pid ?? null, 60_000);
};

it('HISTORIES 20, autovacuum holds the lock: one try is long enough for it to yield', async () => {
  await beVacuumed();
  const { attempt } = await lease(sync, 20);
  expect((await readFence(sync, ctx, 'blue')).state).toBe('leased');
  await reopen(sync, ctx, 'blue', attempt);
});

it('HISTORIES 20, before the freeze: an autovacuum yields to a lock that no writer waits behind', async () => {
  const pid = await beVacuumed();
  const yielding = yieldVacuums(sync, fencedTables(ctx, 'blue'));
  const asked = await until('us to wait for it', async () => {
    const [waiting] = await rows<{ mode: string }>(
      pair.blue.urls.superuser,
      `SELECT mode FROM pg_locks WHERE NOT granted AND relation = 'public.user_settings'::regclass`,
    );
    return waiting?.mode ?? null;
  });
  expect(asked).toBe('ShareUpdateExclusiveLock');
  await write();
  await yielding;
  expect((await vacuuming()).map((v) => v.pid)).not.toContain(pid);
});

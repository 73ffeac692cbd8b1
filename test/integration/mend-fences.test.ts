import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readFence } from '../../orchestrator/fence/fence.ts';
import { connect } from '../../orchestrator/pg/connect.ts';
import { mendFences } from '../../orchestrator/runner/mend-fences.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { runContext, type TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { syncing } from '../support/syncing.ts';

let pair: Pair;
let ctx: TestContext;
beforeEach(async () => {
  pair = await freshPair();
  ctx = runContext(pair, `t-${randomBytes(4).toString('hex')}`);
  await syncing(pair, ctx, 'blue');
  await execute(
    pair.green.urls.sync,
    `INSERT INTO orchestrator.sweep
       (generation, lsn, catalog_digest, started_at, clean, void, rows_compared, result)
     VALUES (0, '0/1', '{}', clock_timestamp(), true, false, 0, '{}')`,
  );
});
afterEach(async () => {
  await pair.drop();
});

const mend = async (): Promise<void> => {
  const clients = {
    blue: await connect(ctx.endpoints.blue, { purpose: 'test' }),
    green: await connect(ctx.endpoints.green, { purpose: 'test' }),
  };
  try {
    await mendFences(ctx, clients, 'blue');
  } finally {
    await Promise.all([clients.blue.end(), clients.green.end()]);
  }
};
const fences = async () => ({
  blue: (await withClient(pair.blue.urls.sync, (client) => readFence(client, ctx, 'blue'))).state,
  green: (await withClient(pair.green.urls.sync, (client) => readFence(client, ctx, 'green'))).state,
});
const made = () => ctx.entries.filter((e) => e.event === 'fence').map((e) => [e.event, e.detail['side']]);
const voided = async () =>
  (await rows<{ void: boolean }>(pair.green.urls.sync, 'SELECT void FROM orchestrator.sweep'))[0]?.void;

it('fences that are as they should be are left alone, and so are the sweeps', async () => {
  await mend();
  expect(await fences()).toEqual({ blue: 'open', green: 'closed' });
  expect(await voided()).toBe(false);
  expect(made()).toEqual([]);
});

it.each([
  ['dropped on the standby', 'green', 'DROP TRIGGER orchestrate_fence ON public.settings'],
  ['disabled on the standby', 'green', 'ALTER TABLE public."user" DISABLE TRIGGER orchestrate_fence'],
  ['dropped on the serving side', 'blue', 'DROP TRIGGER orchestrate_fence ON public.user_settings'],
] as const)(
  'a fence that somebody has %s is made again, and no earlier sweep is trusted',
  async (_, side, sql) => {
    await execute(pair[side].urls.superuser, sql);
    await mend();
    expect(await fences()).toEqual({ blue: 'open', green: 'closed' });
    expect(await voided()).toBe(true);
    expect(made()).toEqual([['fence', side]]);
    await expect(
      execute(pair.green.urls.app, `INSERT INTO org (name) VALUES ('stray')`),
    ).rejects.toMatchObject({ code: '25006' });
  },
);

it('tables in use are not waited for long: the gate stays closed until the next start', async () => {
  await execute(pair.green.urls.superuser, 'DROP TRIGGER orchestrate_fence ON public.settings');
  await withClient(pair.green.urls.superuser, async (holder) => {
    await holder.query('BEGIN; LOCK TABLE public.org IN ROW EXCLUSIVE MODE');
    await mend();
    expect((await fences()).green).toBe('broken');
    expect(await voided()).toBe(true);
    await holder.query('COMMIT');
  });
  await mend();
  expect((await fences()).green).toBe('closed');
});

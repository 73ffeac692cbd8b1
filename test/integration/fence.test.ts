import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CONTROL_BOTH } from '../../migrations/control-schema.ts';
import { installFence, readFence } from '../../orchestrator/fence/fence.ts';
import { silent } from '../../orchestrator/log/log.ts';
import { noMetrics } from '../../orchestrator/metrics/metrics.ts';
import { connect } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { transaction } from '../../orchestrator/pg/transaction.ts';
import { freeze, serverClock } from '../../orchestrator/phases/handover/freeze.ts';
import { reopen } from '../../orchestrator/phases/handover/open.ts';
import type { Context } from '../../orchestrator/state/context.ts';
import { namesOf, relationsOf } from '../../orchestrator/state/names.ts';
import { freshPair } from '../support/databases.ts';

const schemas = { source: 'public', org: 'public' };

describe('the fence on a real server', () => {
  let pair: Awaited<ReturnType<typeof freshPair>>;
  let sync: pg.Client;
  let app: pg.Client;
  let ctx: Context;
  let epoch = 1n;

  beforeAll(async () => {
    pair = await freshPair();
    const endpoint = parseEndpoint('blue', pair.blue.urls.sync);
    ctx = {
      names: namesOf('fence-test'),
      schemas,
      relations: relationsOf(schemas),
      endpoints: { blue: endpoint, green: endpoint },
      log: silent,
      metrics: noMetrics,
      claim: () => ({ migration: 'fence-test', epoch, generation: 0n }),
      signal: new AbortController().signal,
      journal: async () => {},
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
        `INSERT INTO orchestrator.side (migration, side, epoch, role) VALUES ('fence-test', 'blue', 1, 'serving')`,
      );
      await installFence(sync, ctx, 'blue', 'open', pair.blue.roles.owner);
    });
  });

  afterAll(async () => {
    await app.end();
    await sync.end();
    await pair.drop();
  });

  const write = () => app.query(`INSERT INTO user_settings (keycloak_user_id) VALUES ('k')`);
  const lease = async (seconds: number) => {
    const attempt = randomUUID();
    const now = await serverClock(sync);
    await freeze(sync, ctx, 'blue', attempt, now + seconds, now + seconds);
    return attempt;
  };

  it('open: writes pass and the trigger is disabled', async () => {
    await write();
    expect((await readFence(sync, ctx, 'blue')).state).toBe('open');
  });

  it('leased: refused with 25006 for every kind of write, replica role included; reads go on', async () => {
    const attempt = await lease(60);
    for (const statement of [
      `INSERT INTO user_settings (keycloak_user_id) VALUES ('k')`,
      `UPDATE user_settings SET language = 'en'`,
      'DELETE FROM user_settings',
    ])
      await expect(app.query(statement)).rejects.toMatchObject({ code: '25006' });
    const admin = new pg.Client({ connectionString: pair.blue.urls.superuser });
    await admin.connect();
    await admin.query('SET session_replication_role = replica');
    await expect(admin.query('TRUNCATE public.user_settings')).rejects.toMatchObject({ code: '25006' });
    await admin.end();
    expect((await app.query('SELECT FROM user_settings')).rowCount).toBe(1);
    // The sync role passes: it has to drain and to align.
    await sync.query(`UPDATE public.user_settings SET language = language`);
    await reopen(sync, ctx, 'blue', attempt);
    await write();
  });

  it('a lease lets writes through after its deadline by itself, and counts them', async () => {
    await lease(0.3);
    await expect(write()).rejects.toMatchObject({ code: '25006' });
    await expect
      .poll(
        () =>
          write().then(
            () => 'passed',
            () => 'refused',
          ),
        { timeout: 5_000, interval: 20 },
      )
      .toBe('passed');
    expect((await readFence(sync, ctx, 'blue')).state).toBe('lapsed');
    const { rows } = await sync.query<{ n: string }>('SELECT orchestrator.late_passes() AS n');
    expect(Number(rows[0]?.n)).toBeGreaterThan(0);
    const next = await lease(60);
    await reopen(sync, ctx, 'blue', next);
  });

  it('an old snapshot does not see past it: REPEATABLE READ from before the freeze is refused', async () => {
    await app.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await app.query('SELECT count(*) FROM user_settings');
    const attempt = await lease(60);
    await expect(write()).rejects.toMatchObject({ code: '25006' });
    await app.query('ROLLBACK');
    await reopen(sync, ctx, 'blue', attempt);
  });

  it('history 9, late freeze: a freeze does not turn another lease, or a closed fence, into its own', async () => {
    const attempt = await lease(60);
    await expect(lease(60)).rejects.toMatchObject({ code: 'HANDOVER_ABORTED' });
    await reopen(sync, ctx, 'blue', attempt);
    await transaction(sync, () =>
      sync.query(
        `SELECT orchestrator.set_fence(ARRAY['"public"."user_settings"'], 'closed', NULL, NULL, 'fence-test')`,
      ),
    );
    await expect(lease(60)).rejects.toMatchObject({ code: 'HANDOVER_ABORTED' });
    await transaction(sync, () =>
      sync.query(
        `SELECT orchestrator.set_fence(ARRAY['"public"."user_settings"'], 'open', NULL, NULL, 'fence-test')`,
      ),
    );
  });

  it('history 10, late reopen: only the attempt that froze may reopen', async () => {
    const attempt = await lease(60);
    await expect(reopen(sync, ctx, 'blue', randomUUID())).rejects.toMatchObject({ code: 'HANDOVER_ABORTED' });
    await reopen(sync, ctx, 'blue', attempt);
  });

  it('a stale epoch changes nothing', async () => {
    await sync.query('UPDATE orchestrator.side SET epoch = 2');
    await expect(lease(60)).rejects.toMatchObject({ code: 'STALE_EPOCH' });
    epoch = 2n;
    expect((await readFence(sync, ctx, 'blue')).state).toBe('open');
  });

  it('history 15, replace resets ALWAYS: a trigger that is not enabled as its state demands is broken', async () => {
    const attempt = await lease(60);
    await sync.query('ALTER TABLE public.user_settings ENABLE TRIGGER orchestrate_fence');
    expect((await readFence(sync, ctx, 'blue')).state).toBe('broken');
    await sync.query('ALTER TABLE public.user_settings ENABLE ALWAYS TRIGGER orchestrate_fence');
    await reopen(sync, ctx, 'blue', attempt);
  });

  it('history 16, bypass by current_user: a SECURITY DEFINER function of the sync role does not write through', async () => {
    const attempt = await lease(60);
    await sync.query(`
      CREATE FUNCTION orchestrator.sneak() RETURNS void LANGUAGE sql SECURITY DEFINER
      AS $$ UPDATE public.user_settings SET language = 'xx' $$`);
    await sync.query(`GRANT USAGE ON SCHEMA orchestrator TO ${pair.blue.roles.app}`);
    await expect(app.query('SELECT orchestrator.sneak()')).rejects.toMatchObject({ code: '25006' });
    await reopen(sync, ctx, 'blue', attempt);
  });

  it('waits for an open writer, then names it', async () => {
    await app.query('BEGIN');
    await write();
    const attempt = randomUUID();
    const now = await serverClock(sync);
    await expect(freeze(sync, ctx, 'blue', attempt, now + 60, now + 0.8)).rejects.toMatchObject({
      code: 'STRAGGLERS',
    });
    await app.query('ROLLBACK');
    expect((await readFence(sync, ctx, 'blue')).state).toBe('open');
  });
});

/** The standby's slot and what else the way back needs: set-up, retention (HISTORIES 13, 14), canary (HISTORIES 3). */
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { setFence } from '../../orchestrator/fence/fence.ts';
import { type Lsn, parseLsn } from '../../orchestrator/pg/lsn.ts';
import { connectBoth } from '../../orchestrator/phases/control.ts';
import { canaryRoundTrip } from '../../orchestrator/stream/canary.ts';
import { restoreIdentities } from '../../orchestrator/stream/replica-identity.ts';
import { advanceStandbySlot } from '../../orchestrator/stream/retention.ts';
import { prepareReverse, reverseReady } from '../../orchestrator/stream/reverse-setup.ts';
import { identify, inspectSlot } from '../../orchestrator/stream/slot.ts';
import { judgeSource } from '../../orchestrator/stream/source-check.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { blueRow, copied, cutOver, type GreenServing, reverseStream } from '../support/green-serving.ts';
import type { TestContext } from '../support/run-context.ts';
import { execute, rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let ctx: TestContext;
let clients: Readonly<Record<'blue' | 'green', pg.Client>>;
let side: GreenServing | undefined;

beforeEach(async () => {
  pair = await freshPair();
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (1, 'one', 'en'), (2, 'two', 'en')`,
  );
  ctx = await copied(pair);
  clients = await connectBoth(ctx, 'test');
});
afterEach(async () => {
  await side?.stop();
  side = undefined;
  await Promise.all([clients.blue.end(), clients.green.end()]);
  await pair.drop();
});

interface Position {
  readonly lsn: string;
  readonly slot: string;
  readonly system_identifier: string;
  readonly timeline: number;
}
const position = async () =>
  (
    await rows<Position>(
      pair.blue.urls.superuser,
      `SELECT lsn::text, slot, system_identifier, timeline FROM orchestrator.progress WHERE direction = 'reverse'`,
    )
  )[0];
const confirmed = async (): Promise<Lsn> =>
  (await inspectSlot(clients.green, ctx.names.slot.green))?.confirmedFlushLsn ?? -1n;
const identities = () =>
  rows(
    pair.green.urls.superuser,
    `SELECT relname, relreplident FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
       AND relname IN ('role', 'org', 'user', 'org_user', 'settings') ORDER BY 1`,
  );
const ready = () => reverseReady(ctx, 'green', clients);

describe('set-up', () => {
  test('makes identity, publication, slot and position once, and finds them right afterwards', async () => {
    const before = await identities();
    expect(await ready()).toMatchObject({ passed: false });
    await prepareReverse(ctx);
    expect(await ready()).toEqual({ passed: true, detail: expect.any(String) });
    expect(new Set((await identities()).map((r) => r['relreplident']))).toEqual(new Set(['f']));
    const first = await position();
    expect(parseLsn(first?.lsn ?? '')).toBe(await confirmed());
    await prepareReverse(ctx);
    expect(await position()).toEqual(first);
    expect(ctx.entries.map((e) => e.event)).toEqual(['reverse-prepared']);
    // finalize gives the tables back what they had.
    await clients.green.query('BEGIN');
    await restoreIdentities(clients.green);
    await clients.green.query('COMMIT');
    expect(await identities()).toEqual(before);
  });

  test('a replica identity of an unusual kind is saved and restored', async () => {
    await execute(
      pair.green.urls.owner,
      `ALTER TABLE org REPLICA IDENTITY USING INDEX org_name_key; ALTER TABLE role REPLICA IDENTITY NOTHING`,
    );
    const before = await identities();
    await prepareReverse(ctx);
    await clients.green.query('BEGIN');
    await restoreIdentities(clients.green);
    await clients.green.query('COMMIT');
    expect(await identities()).toEqual(before);
  });

  test('a slot without a stored position, left by a run that was killed between the two, is made anew', async () => {
    await clients.green.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [
      ctx.names.slot.green,
    ]);
    const left = await confirmed();
    await prepareReverse(ctx);
    expect(await confirmed()).toBeGreaterThan(left);
    expect(parseLsn((await position())?.lsn ?? '')).toBe(await confirmed());
  });

  test('a slot that is gone, or further than what is stored, is made anew while green is standby', async () => {
    await prepareReverse(ctx);
    await clients.green.query('SELECT pg_drop_replication_slot($1)', [ctx.names.slot.green]);
    expect(await ready()).toMatchObject({ passed: false, detail: expect.stringContaining('slot') });
    await prepareReverse(ctx);
    expect(await ready()).toMatchObject({ passed: true });
    // Somebody consumed it: the stored position is behind it.
    await execute(
      pair.green.urls.superuser,
      `SELECT pg_logical_emit_message(true, 'x', 'y'), pg_switch_wal()`,
    );
    await clients.green.query('SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())', [
      ctx.names.slot.green,
    ]);
    expect(await ready()).toMatchObject({
      passed: false,
      detail: expect.stringContaining('stored position'),
    });
    await prepareReverse(ctx);
    expect(await ready()).toMatchObject({ passed: true });
  });

  test('refuses when green serves, and when the position is of another server', async () => {
    await prepareReverse(ctx);
    await execute(pair.blue.urls.superuser, `UPDATE orchestrator.progress SET system_identifier = '42'`);
    await expect(prepareReverse(ctx)).rejects.toMatchObject({ code: 'IDENTITY_CHANGED' });
    await execute(pair.green.urls.superuser, `UPDATE orchestrator.side SET role = 'serving'`);
    await expect(prepareReverse(ctx)).rejects.toMatchObject({ code: 'WRONG_PHASE' });
  });

  test('a zombie changes nothing', async () => {
    const before = await identities();
    await execute(pair.green.urls.superuser, 'UPDATE orchestrator.side SET epoch = epoch + 1');
    await expect(prepareReverse(ctx)).rejects.toMatchObject({ code: 'STALE_EPOCH' });
    expect(await identities()).toEqual(before);
  });
});

describe('retention', () => {
  const work = () =>
    execute(pair.green.urls.sync, `UPDATE settings SET agent = clock_timestamp()::text WHERE id = 1`);

  test('stores the position on the other side first, then advances the slot to exactly that', async () => {
    await prepareReverse(ctx);
    const start = await confirmed();
    await work();
    const reached = await advanceStandbySlot(ctx, 'green', clients);
    expect(reached).toBeGreaterThan(start);
    expect(await confirmed()).toBe(reached);
    expect(parseLsn((await position())?.lsn ?? '')).toBe(reached);
  });

  test('our own rows on the standby do not make its slot run ahead of what is stored', async () => {
    await prepareReverse(ctx);
    for (let i = 0; i < 5; i += 1) {
      await work();
      await advanceStandbySlot(ctx, 'green', clients);
    }
    const stored = await position();
    if (!stored) throw new Error('no position');
    const error = judgeSource(
      {
        slot: stored.slot,
        systemIdentifier: stored.system_identifier,
        timeline: stored.timeline,
        lsn: parseLsn(stored.lsn),
      },
      await identify(clients.green),
      await inspectSlot(clients.green, stored.slot),
      pair.green.database,
    );
    expect(error).toBeUndefined();
    await cutOver(pair, ctx);
    side = await reverseStream(pair, ctx);
    await side.green(`UPDATE settings SET language = 'de' WHERE id = 2`);
    await side.drained();
    expect(await blueRow(pair, 2)).toMatchObject({ language: 'de' });
  });

  test("a late advance lands where it was aimed, not on top of a client's write", async () => {
    await prepareReverse(ctx);
    await work();
    // The advance is held up between its statements, while green is opened and a client writes.
    let late: (() => void) | undefined;
    const held = new Promise<void>((resolve) => {
      late = resolve;
    });
    const green = new Proxy(clients.green, {
      get: (target, name) => {
        if (name !== 'query') return Reflect.get(target, name);
        return async (...args: Parameters<pg.Client['query']>) => {
          if (String(args[0]).includes('pg_replication_slot_advance')) await held;
          return target.query(...args);
        };
      },
    });
    const advancing = advanceStandbySlot(ctx, 'green', { ...clients, green });
    await until(
      'the position to be stored',
      async () => parseLsn((await position())?.lsn ?? '') > (await confirmed()),
    );
    await cutOver(pair, ctx);
    await execute(pair.green.urls.app, `UPDATE settings SET language = 'mine' WHERE id = 1`);
    late?.();
    await advancing;
    side = await reverseStream(pair, ctx);
    await side.drained();
    expect(await blueRow(pair, 1)).toMatchObject({ language: 'mine' });
  });

  test('does nothing while the fence is not closed, for another epoch or generation, and when the slot is in use', async () => {
    await prepareReverse(ctx);
    await work();
    const start = await confirmed();
    await clients.green.query('BEGIN');
    await setFence(clients.green, ctx, 'green', 'open');
    await clients.green.query('COMMIT');
    expect(await advanceStandbySlot(ctx, 'green', clients)).toBeNull();
    await clients.green.query('BEGIN');
    await setFence(clients.green, ctx, 'green', 'closed');
    await clients.green.query('COMMIT');
    ctx.setClaim({ epoch: 7n });
    expect(await advanceStandbySlot(ctx, 'green', clients)).toBeNull();
    ctx.setClaim({ epoch: 0n, generation: 3n });
    expect(await advanceStandbySlot(ctx, 'green', clients)).toBeNull();
    ctx.setClaim({ generation: 0n });
    expect(await confirmed()).toBe(start);
    // It waits for whoever is opening the standby, and then finds that it no longer is one.
    const opener = new pg.Client({ connectionString: pair.green.urls.superuser });
    await opener.connect();
    await opener.query('BEGIN');
    await opener.query(`UPDATE orchestrator.side SET role = 'serving', generation = 1`);
    const advancing = advanceStandbySlot(ctx, 'green', clients);
    await until('it to wait for the opening transaction', async () => {
      const waiting = await rows(
        pair.green.urls.superuser,
        `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
      );
      return waiting.length > 0;
    });
    await opener.query('COMMIT');
    await opener.end();
    expect(await advancing).toBeNull();
    expect(await confirmed()).toBe(start);
  });

  test('never lowers what is stored', async () => {
    await prepareReverse(ctx);
    await execute(pair.blue.urls.superuser, `UPDATE orchestrator.progress SET lsn = 'FF/0'`);
    await advanceStandbySlot(ctx, 'green', clients);
    expect((await position())?.lsn).toBe('FF/0');
  });
});

describe('canary', () => {
  test("HISTORIES 3, canary's consumer: it comes back through the standby's slot and moves nothing", async () => {
    await prepareReverse(ctx);
    const start = await confirmed();
    const seconds = await canaryRoundTrip(ctx, 'green', clients, 5_000);
    expect(seconds).toBeGreaterThan(0);
    expect(await confirmed()).toBe(start);
    // Blue as the standby has its own slot and publication.
    await cutOver(pair, ctx);
    expect(await canaryRoundTrip(ctx, 'blue', clients, 5_000)).toBeGreaterThan(0);
  });

  test('says so when the slot is missing, in use, or the claim is stale', async () => {
    await expect(canaryRoundTrip(ctx, 'green', clients, 1_000)).rejects.toMatchObject({
      code: 'SLOT_MISSING',
    });
    await prepareReverse(ctx);
    await cutOver(pair, ctx);
    side = await reverseStream(pair, ctx);
    await expect(canaryRoundTrip(ctx, 'green', clients, 200)).rejects.toMatchObject({ code: 'TIMED_OUT' });
    ctx.setClaim({ epoch: 9n });
    await expect(canaryRoundTrip(ctx, 'blue', clients, 1_000)).rejects.toMatchObject({ code: 'STALE_EPOCH' });
    ctx.setClaim({ epoch: 0n });
  });
});

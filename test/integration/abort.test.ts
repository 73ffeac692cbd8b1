import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { migrateUp } from '../../migrations/migrator.ts';
import { loadedTables, saveAndDrop } from '../../orchestrator/copy/constraints.ts';
import { clientConfig, connect } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { transaction } from '../../orchestrator/pg/transaction.ts';
import { abort } from '../../orchestrator/phases/abort.ts';
import { dropControl, ensureControl } from '../../orchestrator/phases/control.ts';
import { prepare } from '../../orchestrator/phases/prepare.ts';
import { Lease } from '../../orchestrator/runner/lease.ts';
import { dropPublication } from '../../orchestrator/stream/publication.ts';
import { makeIdentityFull } from '../../orchestrator/stream/replica-identity.ts';
import { type Catalog, catalogOf } from '../support/catalog.ts';
import { freshPair, ownPair, type Pair } from '../support/databases.ts';
import { runContext, SCHEMAS, type TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
let ctx: TestContext;
beforeEach(async () => {
  pair = await freshPair();
  ctx = runContext(pair, `t-${randomBytes(4).toString('hex')}`);
});
afterEach(async () => {
  await pair.drop();
});

const catalogs = async (): Promise<Catalog[]> => [
  await catalogOf(pair.blue.urls.superuser),
  await catalogOf(pair.green.urls.superuser),
];

const begin = async (): Promise<void> => {
  await ensureControl(ctx);
  await (await prepare(ctx)).slot.release();
};

/** What a copy has brought, as far as an abort cares: rows, and a state that says so. */
const copied = async (): Promise<void> => {
  await execute(
    pair.green.urls.sync,
    `INSERT INTO public.org (id, name) VALUES (7, 'user_7_org');
     INSERT INTO public."user" (id, keycloak_user_id) VALUES (7, 'k');
     INSERT INTO public.org_user (org_id, user_id, role_id) VALUES (7, 7, 1);
     INSERT INTO public.settings (id, org_id) VALUES (7, 7);
     INSERT INTO orchestrator.run (migration, phase, state)
     VALUES ('${ctx.names.migration}', 'copying', '{"phase": "copying", "madeOrgTables": true, "snapshots": 1}')`,
  );
};

const done = { exit: 0, document: { outcome: 'done', phase: 'aborted', serving: 'blue', left: [] } };

test('after abort both catalogs are what they were, and blue keeps its rows', async () => {
  await execute(pair.blue.urls.app, `INSERT INTO user_settings (keycloak_user_id) VALUES ('a'), (NULL)`);
  const before = await catalogs();
  await begin();
  await copied();
  expect(await abort(ctx)).toMatchObject(done);
  expect(await catalogs()).toEqual(before);
  expect(await rows(pair.blue.urls.app, 'SELECT FROM user_settings')).toHaveLength(2);
  // Once more is harmless, and a new run may begin.
  expect(await abort(ctx)).toMatchObject(done);
  await begin();
  expect(await abort(ctx)).toMatchObject(done);
  expect(await catalogs()).toEqual(before);
});

test('abort before anything was prepared', async () => {
  const before = await catalogs();
  expect(await abort(ctx)).toMatchObject(done);
  await ensureControl(ctx);
  expect(await abort(ctx)).toMatchObject(done);
  expect(await catalogs()).toEqual(before);
});

test('org tables that were there before stay, emptied, with their keys and replica identities', async () => {
  const config = clientConfig(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' });
  await migrateUp({ config, schemas: SCHEMAS, owner: pair.green.roles.owner, inPlace: false });
  await execute(
    pair.green.urls.owner,
    `INSERT INTO role (name, rank) VALUES ('guest', 7);
     ALTER TABLE org REPLICA IDENTITY FULL;
     CREATE INDEX org_contact ON org (contact_name);
     ALTER TABLE settings ADD CONSTRAINT checked FOREIGN KEY (org_id) REFERENCES org (id) NOT VALID`,
  );
  const before = await catalogs();
  await begin();
  const session = await connect(ctx.endpoints.green, { purpose: 'test' });
  await transaction(session, () => saveAndDrop(session, ctx));
  await session.end();
  expect((await catalogs())[1]?.['constraints']).not.toEqual(before[1]?.['constraints']);
  await copied();
  expect(await abort(ctx)).toMatchObject(done);
  expect(await catalogs()).toEqual(before);
  expect(await rows(pair.green.urls.owner, 'SELECT name FROM role ORDER BY id')).toHaveLength(3);
  for (const table of loadedTables(ctx))
    expect(await rows(pair.green.urls.sync, `SELECT FROM ${table}`)).toHaveLength(0);
});

test('replica identities that the way back has changed are restored', async () => {
  const config = clientConfig(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' });
  await migrateUp({ config, schemas: SCHEMAS, owner: pair.green.roles.owner, inPlace: false });
  const before = await catalogs();
  await begin();
  await withClient(pair.green.urls.sync, (client) => makeIdentityFull(client, ctx));
  expect((await catalogs())[1]?.['relations']).not.toEqual(before[1]?.['relations']);
  await abort(ctx);
  expect(await catalogs()).toEqual(before);
});

test('a leased fence is opened first', async () => {
  await begin();
  await execute(
    pair.blue.urls.sync,
    `SELECT orchestrator.freeze('${ctx.names.migration}', 0, 0, ARRAY['"public"."user_settings"'], gen_random_uuid()::text,
       orchestrator.now_seconds() + 3600, 1000, 'p')`,
  );
  const insert = `INSERT INTO user_settings (keycloak_user_id) VALUES ('a')`;
  await expect(execute(pair.blue.urls.app, insert)).rejects.toMatchObject({ code: '25006' });
  await abort(ctx);
  await execute(pair.blue.urls.app, insert);
});

test('after a decision there is no abort, and nothing is changed', async () => {
  await begin();
  await execute(pair.blue.urls.sync, `UPDATE orchestrator.side SET generation = 1, role = 'standby'`);
  const before = await catalogs();
  await expect(abort(ctx)).rejects.toMatchObject({ code: 'WRONG_PHASE', entry: { exit: 3 } });
  expect(await catalogs()).toEqual(before);
  expect(await rows(pair.blue.urls.sync, 'SELECT ending FROM orchestrator.side')).toEqual([{ ending: null }]);
});

describe('the lease', () => {
  test('another runner at work refuses an abort without its request', async () => {
    await begin();
    await withClient(pair.blue.urls.sync, async (runner) => {
      await runner.query('SELECT pg_advisory_lock($1)', [ctx.names.leaseLock]);
      await expect(abort(ctx)).rejects.toMatchObject({ code: 'LEASE_HELD' });
    });
    expect(await rows(pair.blue.urls.sync, 'SELECT ending FROM orchestrator.side')).toEqual([
      { ending: null },
    ]);
  });

  test('the runner itself aborts under its own epoch', async () => {
    await begin();
    for (const side of ['blue', 'green'] as const)
      await execute(pair[side].urls.sync, 'UPDATE orchestrator.side SET epoch = 4');
    ctx.setClaim({ epoch: 4n });
    await withClient(pair.blue.urls.sync, async (runner) => {
      await runner.query('SELECT pg_advisory_lock($1)', [ctx.names.leaseLock]);
      expect(await abort(ctx)).toMatchObject(done);
    });
  });
});

test('a run that was begun again does not pass over an unfinished abort', async () => {
  await begin();
  await execute(pair.blue.urls.sync, `UPDATE orchestrator.side SET ending = 'aborting'`);
  expect(await ensureControl(ctx)).toBe('aborting');
});

test('with green out of reach blue is freed, exit 6; with green back the rest follows', async () => {
  const own = await ownPair();
  try {
    const place = runContext(own);
    const before = [await catalogOf(own.blue.urls.superuser), await catalogOf(own.green.urls.superuser)];
    await ensureControl(place);
    await (await prepare(place)).slot.release();
    await own.servers.green.stop();
    const first = await abort(place);
    expect(first).toMatchObject({
      exit: 6,
      document: { outcome: 'unfinished', phase: 'aborting', error: { code: 'ABORT_UNFINISHED' } },
    });
    expect(first.document.left).toHaveLength(1);
    // Only the record of the abort is left on blue.
    const half = await catalogOf(own.blue.urls.superuser);
    for (const part of ['slots', 'publications', 'triggers']) expect(half[part]).toEqual([]);
    expect(await rows(own.blue.urls.sync, 'SELECT ending FROM orchestrator.side')).toEqual([
      { ending: 'aborting' },
    ]);
    await own.servers.green.start();
    expect(await abort(place)).toMatchObject(done);
    expect([await catalogOf(own.blue.urls.superuser), await catalogOf(own.green.urls.superuser)]).toEqual(
      before,
    );
  } finally {
    await own.drop();
  }
});

test('green lost for good: blue alone is enough', async () => {
  await begin();
  const empty = await freshPair();
  try {
    const before = await catalogOf(empty.green.urls.superuser);
    expect(
      await abort(runContext({ blue: pair.blue, green: empty.green }, ctx.names.migration)),
    ).toMatchObject(done);
    expect(await rows(pair.blue.urls.sync, `SELECT to_regnamespace('orchestrator') AS schema`)).toEqual([
      { schema: null },
    ]);
    expect(await catalogOf(empty.green.urls.superuser)).toEqual(before);
  } finally {
    await empty.drop();
  }
});

test('a session left over from an aborted run can do nothing to the next run of that name', async () => {
  await begin();
  const stale = { ...ctx, claim: () => ({ ...ctx.claim(), epoch: 1n }) };
  await execute(pair.green.urls.sync, 'UPDATE orchestrator.side SET epoch = 2');
  await withClient(pair.green.urls.sync, async (client) => {
    await expect(dropControl(stale, client, 'green')).rejects.toMatchObject({ code: 'STALE_EPOCH' });
    await expect(dropPublication(client, stale, 'green')).rejects.toMatchObject({ code: 'STALE_EPOCH' });
  });
  expect(await rows(pair.green.urls.sync, 'SELECT epoch FROM orchestrator.side')).toEqual([{ epoch: '2' }]);
});

test('epochs are never used twice, not even by the next run of that name', async () => {
  const signal = new AbortController().signal;
  const epochs: bigint[] = [];
  for (let run = 0; run < 2; run += 1) {
    await ensureControl(ctx);
    const lease = await Lease.acquire(ctx.names, ctx.endpoints, false, signal);
    epochs.push(lease.epoch, await lease.advance(ctx.endpoints));
    await lease.release();
    await abort(ctx);
  }
  expect([...epochs].sort((a, b) => (a < b ? -1 : 1))).toEqual(epochs);
  expect(new Set(epochs).size).toBe(4);
});

import { afterEach, beforeEach, expect, test } from 'vitest';
import { controlDown, controlUp } from '../../migrations/control.ts';
import { moveInPlace } from '../../migrations/in-place/move.ts';
import { type MigrateTarget, migrateDown, migrateUp, migrationStatus } from '../../migrations/migrator.ts';
import { tablesOwner } from '../../migrations/session.ts';
import { clientConfig } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { catalogOf } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
beforeEach(async () => {
  pair = await freshPair();
});
afterEach(async () => {
  await pair.drop();
});

const NAMES = ['056-create-org-tables', '057-migrate-user-settings'];

function target(side: 'blue' | 'green', more: Partial<MigrateTarget> = {}): MigrateTarget {
  const config = clientConfig(parseEndpoint(side, pair[side].urls.sync), { purpose: 'migrate' });
  const schemas = { source: 'public', org: 'public' };
  return { config, schemas, owner: pair[side].roles.owner, inPlace: side === 'blue', ...more };
}

const query =
  (url: string) =>
  async <Row extends object>(sql: string, bind: readonly unknown[]) =>
    (await rows(url, sql, [...bind])) as Row[];

test('up makes the org model as the tables owner and seeds the roles, down leaves nothing', async () => {
  const before = await catalogOf(pair.green.urls.superuser);
  expect(await migrateUp(target('green'))).toEqual(NAMES);
  expect(await rows(pair.green.urls.sync, 'SELECT id, name, rank FROM public.role ORDER BY id')).toEqual([
    { id: 1, name: 'admin', rank: 1 },
    { id: 2, name: 'user', rank: 1000 },
  ]);
  const owned = await rows<{ relname: string; owner: string }>(
    pair.green.urls.sync,
    `SELECT relname, pg_get_userbyid(relowner) AS owner FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname`,
  );
  expect(owned.map((r) => r.relname)).toEqual([
    'orchestrate_migrations',
    'org',
    'org_user',
    'role',
    'settings',
    'user',
  ]);
  expect(new Set(owned.map((r) => r.owner))).toEqual(new Set([pair.green.roles.owner]));
  const status = await migrationStatus(query(pair.green.urls.sync), { source: 'public', org: 'public' });
  expect(status.map((s) => [s.name, s.appliedAt !== null])).toEqual(NAMES.map((n) => [n, true]));

  expect(await migrateUp(target('green'))).toEqual([]);
  expect(await migrateDown(target('green'), '056')).toEqual([NAMES[1]]);
  expect(await rows(pair.green.urls.sync, 'SELECT FROM public.role')).toHaveLength(0);
  expect(await migrateDown(target('green'), '055')).toEqual([NAMES[0]]);
  expect(await catalogOf(pair.green.urls.superuser)).toEqual(before);
});

test('a role made by the application continues above the seeded ids', async () => {
  await migrateUp(target('green'));
  expect(
    await rows(pair.green.urls.app, `INSERT INTO role (name, rank) VALUES ('guest', 5000) RETURNING id`),
  ).toEqual([{ id: 3 }]);
});

test('the constraints of the org model refuse what they should', async () => {
  await migrateUp(target('green'));
  await execute(
    pair.green.urls.app,
    `INSERT INTO org (name) VALUES ('a'); INSERT INTO "user" (keycloak_user_id) VALUES ('k')`,
  );
  const refused = async (sql: string) =>
    execute(pair.green.urls.app, sql).then(
      () => 'accepted',
      (error: { code: string }) => error.code,
    );
  expect(await refused(`INSERT INTO org (name) VALUES ('a')`)).toBe('23505');
  expect(await refused('INSERT INTO settings DEFAULT VALUES')).toBe('23514');
  expect(await refused('INSERT INTO settings (org_id) VALUES (99)')).toBe('23503');
  expect(await refused('INSERT INTO settings (org_id) VALUES (1), (1)')).toBe('23505');
  expect(await refused('INSERT INTO settings (org_id, user_id) VALUES (1, 1), (1, 1)')).toBe('23505');
  expect(await refused('INSERT INTO settings (org_id, user_id) VALUES (1, 1), (1, NULL)')).toBe('accepted');
  expect(await refused('INSERT INTO org_user (org_id, user_id, role_id) VALUES (1, 1, 7)')).toBe('23503');
});

test('three runs at once apply everything once', async () => {
  const applied = await Promise.all([1, 2, 3].map(() => migrateUp(target('green'))));
  expect(applied.filter((a) => a.length > 0)).toEqual([NAMES]);
});

test('a failing second migration leaves nothing of the first', async () => {
  const before = await catalogOf(pair.green.urls.superuser);
  await execute(
    pair.green.urls.superuser,
    `CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
       IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.settings_org_id_user_id_key')
       THEN RAISE EXCEPTION 'no'; END IF; END $$;
     CREATE EVENT TRIGGER refuse ON ddl_command_end EXECUTE FUNCTION public.refuse();`,
  );
  await expect(migrateUp(target('green'))).rejects.toMatchObject({ code: 'P0001' });
  await execute(pair.green.urls.superuser, 'DROP EVENT TRIGGER refuse; DROP FUNCTION public.refuse();');
  expect(await catalogOf(pair.green.urls.superuser)).toEqual(before);
});

test('a table of that name is refused, and nothing is made', async () => {
  await execute(pair.green.urls.owner, 'CREATE TABLE public.org (id integer)');
  const before = await catalogOf(pair.green.urls.superuser);
  await expect(migrateUp(target('green'))).rejects.toMatchObject({ name: 'MigrationRefused', found: 'org' });
  expect(await catalogOf(pair.green.urls.superuser)).toEqual(before);
});

test('in place 056 sets the older settings aside, and down puts it back', async () => {
  await execute(
    pair.blue.urls.owner,
    `CREATE TABLE settings (id serial PRIMARY KEY, org varchar UNIQUE, language varchar NOT NULL CHECK (language <> ''));
     CREATE INDEX settings_language ON settings (language);
     INSERT INTO settings (org, language) VALUES ('x', 'en'), ('y', 'ja');`,
  );
  const before = await catalogOf(pair.blue.urls.superuser);
  expect(await migrateUp(target('blue'), '056')).toEqual([NAMES[0]]);
  expect(
    await rows(pair.blue.urls.owner, 'SELECT org, language FROM settings_before_056 ORDER BY id'),
  ).toHaveLength(2);
  expect(await rows(pair.blue.urls.owner, 'SELECT FROM settings')).toHaveLength(0);
  expect(await migrateDown(target('blue'), '055')).toEqual([NAMES[0]]);
  expect(await catalogOf(pair.blue.urls.superuser)).toEqual(before);
  expect(await rows(pair.blue.urls.owner, 'SELECT org FROM settings ORDER BY id')).toEqual([
    { org: 'x' },
    { org: 'y' },
  ]);
});

test('in place 057 is recorded with its foreign keys, though whoever set them aside is gone', async () => {
  const { owner, superuser } = pair.blue.urls;
  await migrateUp(target('blue'), '056');
  const constraints = (await catalogOf(superuser))['constraints'];
  await execute(
    owner,
    `INSERT INTO user_settings (keycloak_user_id) SELECT 'k' || n FROM generate_series(1, 30) AS n`,
  );
  let batches = 0;
  const killed = withClient(owner, async (client) => {
    // As all sessions of ours: what is kept has to name its tables wholly.
    await client.query('SET search_path = pg_catalog, pg_temp');
    await moveInPlace(
      async <Row extends object>(sql: string, bind: readonly unknown[]) =>
        (await client.query(sql, [...bind])).rows as Row[],
      target('blue').schemas,
      {
        batchSize: 10,
        beforeBatch: async () => {
          batches += 1;
          if (batches === 2) throw new Error('killed');
        },
        afterBatch: async () => {},
      },
    );
  });
  await expect(killed).rejects.toThrow('killed');
  expect((await catalogOf(superuser))['constraints']).not.toEqual(constraints);
  expect(await migrateUp(target('blue'))).toEqual([NAMES[1]]);
  const after = (await catalogOf(superuser))['constraints'] as { conname: string }[];
  expect(after.filter((c) => !c.conname.startsWith('orchestrate_in_place'))).toEqual(constraints);
  expect(await rows(owner, 'SELECT FROM "user"')).toHaveLength(30);
});

test('the owner is that of the table, else of the database', async () => {
  expect(await tablesOwner(query(pair.blue.urls.sync), 'public', 'user_settings')).toBe(
    pair.blue.roles.owner,
  );
  expect(await tablesOwner(query(pair.green.urls.sync), 'public', 'org')).toBe(pair.green.roles.owner);
});

test.each(['blue', 'green'] as const)(
  'the control schema of %s comes once and goes without a trace',
  async (side) => {
    const before = await catalogOf(pair[side].urls.superuser);
    const { config, owner } = target(side);
    const made = await Promise.all([1, 2].map(() => controlUp({ config, side, owner, migration: 'm' })));
    expect(made.filter((m) => m)).toHaveLength(1);
    expect(
      await rows(pair[side].urls.sync, 'SELECT migration, side, role, generation FROM orchestrator.side'),
    ).toEqual([{ migration: 'm', side, role: side === 'blue' ? 'serving' : 'standby', generation: '0' }]);
    await controlDown({ config, side });
    await controlDown({ config, side });
    expect(await catalogOf(pair[side].urls.superuser)).toEqual(before);
  },
);

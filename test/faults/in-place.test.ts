/** 056 and 057 inside one database: forward, back and forward again; killed in the middle; two at once; a bad row. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ErrorDocument } from '../../orchestrator/errors/failure.ts';
import type { MigrateDocument } from '../../orchestrator/phases/migrate.ts';
import { type Catalog, catalogOf as wholeCatalog } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { bytesOf, compareInPlace, fill055, migrateProcess } from '../support/in-place.ts';
import { type Outcome, orchestrate } from '../support/in-process.ts';
import { execute, rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

const NAMES = ['056-create-org-tables', '057-migrate-user-settings'];
const ORG_MODEL = ['role', 'org', '"user"', 'org_user', 'settings'];

/** Tables made anew have TOAST tables of other numbers. */
async function catalogOf(url: string): Promise<Catalog> {
  const catalog = await wholeCatalog(url);
  const indexes = (catalog['indexes'] as { name: string }[]).filter((i) => !i.name.startsWith('pg_toast.'));
  return { ...catalog, indexes };
}

let pair: Pair;
beforeEach(async () => {
  pair = await freshPair();
  await fill055(pair, 2_000);
});
afterEach(async () => {
  await pair.drop();
});

const migrate = (...args: string[]): Promise<Outcome> =>
  orchestrate(['migrate', ...args, '--side', 'blue', '--json'], {
    ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
  });
const changed = async (...args: string[]) => {
  const ended = await migrate(...args);
  expect([ended.exit, ended.stderr.includes('error')]).toEqual([0, false]);
  return ended.json<MigrateDocument>().changed;
};

it('up, up, down, down, up, up: every state is what it was, in catalogs and bytes', async () => {
  const url = pair.blue.urls.superuser;
  const source = ['user_settings', 'settings'];
  const at055 = { catalog: await catalogOf(url), bytes: await bytesOf(url, source) };
  const aside = { user_settings: at055.bytes['user_settings'], settings_before_056: at055.bytes['settings'] };

  expect(await changed('up', '--to', '056')).toEqual([NAMES[0]]);
  const at056 = {
    catalog: await catalogOf(url),
    bytes: await bytesOf(url, [...ORG_MODEL, 'user_settings', 'settings_before_056']),
  };
  expect(at056.bytes).toMatchObject(aside);

  expect(await changed('up', '--to', '057')).toEqual([NAMES[1]]);
  const { users, differences } = await compareInPlace(url);
  expect(differences).toEqual([]);
  expect(users).toBeGreaterThan(2_000);
  const at057 = {
    catalog: await catalogOf(url),
    bytes: await bytesOf(url, [...ORG_MODEL, 'user_settings', 'settings_before_056']),
  };
  expect(at057.bytes).toMatchObject(aside);
  expect(await changed('up')).toEqual([]);

  const unasked = await migrate('down', '--to', '056');
  expect([unasked.exit, unasked.json<{ error: ErrorDocument }>().error.code]).toEqual([
    2,
    'CONFIRMATION_NEEDED',
  ]);
  expect(await bytesOf(url, ORG_MODEL)).toEqual(
    Object.fromEntries(ORG_MODEL.map((table) => [table, at057.bytes[table]])),
  );
  expect(await changed('down', '--to', '056', '--yes')).toEqual([NAMES[1]]);
  expect(await catalogOf(url)).toEqual(at056.catalog);
  expect(await bytesOf(url, [...ORG_MODEL, 'user_settings', 'settings_before_056'])).toEqual(at056.bytes);

  // Nothing is deleted any more, so nothing is asked.
  expect(await changed('down', '--to', '055')).toEqual([NAMES[0]]);
  expect(await catalogOf(url)).toEqual(at055.catalog);
  expect(await bytesOf(url, source)).toEqual(at055.bytes);

  expect(await changed('up', '--to', '056')).toEqual([NAMES[0]]);
  expect(await changed('up', '--batch-size', '77')).toEqual([NAMES[1]]);
  expect(await catalogOf(url)).toEqual(at057.catalog);
  expect(await bytesOf(url, [...ORG_MODEL, 'user_settings', 'settings_before_056'])).toEqual(at057.bytes);

  // New rows continue above the highest id.
  const [next] = await rows<{ id: number; highest: number }>(
    pair.blue.urls.owner,
    `INSERT INTO org (name) VALUES ('new') RETURNING id, (SELECT max(id) FROM user_settings) AS highest`,
  );
  expect(next?.id).toBe((next?.highest ?? 0) + 1);
});

it('killed before, after and in any batch, and in the last pass, up goes on and ends right', async () => {
  const points = [
    'batch.before:crash:1',
    'batch.before:crash:3',
    'batch.after:crash:1',
    'batch.after:crash:2',
    'reconcile.before:crash',
  ];
  let read = 0;
  for (const point of points) {
    const killed = await migrateProcess(pair, ['up', '--batch-size', '250'], {
      ORCHESTRATE_FAILPOINT: point,
    });
    expect([point, killed.ended]).toEqual([point, 'SIGKILL']);
    const status = (await migrate('status')).json<MigrateDocument>();
    expect(status.migrations[1]?.applied_at).toBeNull();
    expect(status.next_steps).toEqual(['orchestrate migrate up --side blue --to 057']);
    expect(status.in_place?.rows_read ?? 0).toBeGreaterThanOrEqual(read);
    read = status.in_place?.rows_read ?? 0;
  }
  expect(read).toBeGreaterThan(2_000);
  const late = await migrateProcess(pair, ['up'], { ORCHESTRATE_FAILPOINT: 'reconcile.after:crash' });
  expect(late.ended).toBe('SIGKILL');
  expect(await changed('up')).toEqual([]);
  const { users, differences } = await compareInPlace(pair.blue.urls.superuser);
  expect(differences).toEqual([]);
  expect(users).toBeGreaterThan(2_000);
});

it('a key that was left to an heir is not lost when its holder is read again because of somebody else', async () => {
  const { owner, superuser } = pair.blue.urls;
  await execute(
    owner,
    `INSERT INTO user_settings (id, keycloak_user_id) VALUES (9001, 'first'), (9002, 'shared'), (9003, 'shared')`,
  );
  const killed = await migrateProcess(pair, ['up'], { ORCHESTRATE_FAILPOINT: 'reconcile.before:crash' });
  expect(killed.ended).toBe('SIGKILL');
  // 9001 is read first, alone, and takes 9002 with it, whose old key is 9003's from now on.
  await execute(owner, `UPDATE user_settings SET keycloak_user_id = 'taken' WHERE id IN (9001, 9002)`);
  expect(await changed('up', '--batch-size', '1')).toEqual([NAMES[1]]);
  expect((await compareInPlace(superuser)).differences).toEqual([]);
  expect(
    await rows(owner, 'SELECT id, keycloak_user_id AS key FROM "user" WHERE id > 9000 ORDER BY id'),
  ).toEqual([
    { id: 9001, key: 'taken' },
    { id: 9003, key: 'shared' },
  ]);
});

it('a half-done 057 is taken back too', async () => {
  const url = pair.blue.urls.superuser;
  const before = await catalogOf(url);
  const bytes = await bytesOf(url, ['user_settings', 'settings']);
  await changed('up', '--to', '056');
  const at056 = await catalogOf(url);
  const killed = await migrateProcess(pair, ['up', '--batch-size', '250'], {
    ORCHESTRATE_FAILPOINT: 'batch.after:crash:3',
  });
  expect(killed.ended).toBe('SIGKILL');
  // The foreign keys that the first reading does without are back at once.
  expect((await catalogOf(url))['constraints']).not.toEqual(at056['constraints']);
  expect(await changed('down', '--to', '056', '--yes')).toEqual([]);
  expect(await catalogOf(url)).toEqual(at056);
  const again = await migrateProcess(pair, ['up', '--batch-size', '250'], {
    ORCHESTRATE_FAILPOINT: 'batch.after:crash:3',
  });
  expect(again.ended).toBe('SIGKILL');
  expect((await migrate('down', '--to', '055')).exit).toBe(2);
  expect(await changed('down', '--to', '055', '--yes')).toEqual([NAMES[0]]);
  expect(await catalogOf(url)).toEqual(before);
  expect(await bytesOf(url, ['user_settings', 'settings'])).toEqual(bytes);
});

it('the time at work has everything that a batch waits for', async () => {
  await migrate('up', '--to', '056');
  // At the end of the statement, where a clock read inside it does not see it.
  await execute(
    pair.blue.urls.owner,
    `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
     CREATE TRIGGER slow AFTER INSERT ON settings EXECUTE FUNCTION slow()`,
  );
  expect(await changed('up', '--batch-size', '1000')).toEqual([NAMES[1]]);
  const { in_place } = (await migrate('status')).json<MigrateDocument>();
  expect(in_place?.batches).toBe(3);
  expect(in_place?.busy_seconds).toBeGreaterThan(0.6);
});

it('a row that hangs in the air, written while the foreign keys are aside, is named by its key and stops 057', async () => {
  const killed = await migrateProcess(pair, ['up', '--batch-size', '250'], {
    ORCHESTRATE_FAILPOINT: 'batch.after:crash:2',
  });
  expect(killed.ended).toBe('SIGKILL');
  await execute(
    pair.blue.urls.owner,
    'INSERT INTO org_user (org_id, user_id, role_id) VALUES (987654, 1, 1)',
  );
  const ended = await migrate('up');
  expect([ended.exit, ended.json<{ error: ErrorDocument }>().error]).toMatchObject([
    3,
    { code: 'MIGRATION_REFUSED', expected: expect.stringMatching(/^rows of org_user that \S+ allows$/) },
  ]);
  await execute(pair.blue.urls.owner, 'DELETE FROM org_user WHERE org_id = 987654');
  expect(await changed('up')).toEqual([NAMES[1]]);
  expect((await compareInPlace(pair.blue.urls.superuser)).differences).toEqual([]);
});

it('two at once do everything once', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'in-place-'));
  const release = join(directory, 'release');
  // Whoever comes first rests after its first batch until the other one waits for its turn.
  const both = [1, 2].map(() =>
    migrateProcess(pair, ['up', '--batch-size', '100'], {
      ORCHESTRATE_FAILPOINT: 'batch.after:hang',
      ORCHESTRATE_FAILPOINT_RELEASE: release,
    }),
  );
  const WAITING = `
    SELECT FROM pg_locks AS l
    JOIN pg_database AS d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted`;
  await until('one waits', async () => (await rows(pair.blue.urls.superuser, WAITING)).length === 1);
  writeFileSync(release, '');
  const ended = await Promise.all(both);
  rmSync(directory, { recursive: true });
  expect(ended.map((e) => e.ended)).toEqual(['0', '0']);
  const documents = ended.map((e) => JSON.parse(e.stdout) as MigrateDocument);
  expect(documents.map((d) => d.changed.length).sort((a, b) => a - b)).toEqual([0, 2]);
  expect(ended.some((e) => e.stderr.includes('another migrate is at work'))).toBe(true);
  // Each row once: a second run would have read them again.
  expect(documents[0]?.in_place?.rows_read).toBe(documents[0]?.in_place?.rows_expected);
  expect((await compareInPlace(pair.blue.urls.superuser)).differences).toEqual([]);
});

it('a row that the new tables refuse is named by its id, never by a value; mended, up goes on', async () => {
  await migrate('up', '--to', '056');
  await execute(
    pair.blue.urls.owner,
    `ALTER TABLE settings ADD CONSTRAINT no_secret CHECK (llm_model IS DISTINCT FROM 'not-allowed-model')`,
  );
  await execute(
    pair.blue.urls.superuser,
    `UPDATE user_settings SET llm_model = 'not-allowed-model', keycloak_user_id = 'only-here' WHERE id = 1500`,
  );
  const ended = await migrate('up', '--batch-size', '100');
  expect(ended.exit).toBe(1);
  const { error } = ended.json<{ error: ErrorDocument }>();
  expect(error).toMatchObject({
    code: 'MIGRATION_FAILED',
    found: 'user_settings row 1500: error 23514 on no_secret',
    fix: 'mend that row, then orchestrate migrate up --side blue --to 057',
  });
  expect(ended.stdout + ended.stderr).not.toMatch(/not-allowed-model|only-here/);
  const status = (await migrate('status')).json<MigrateDocument>();
  expect(status.in_place?.failed).toEqual({
    batch: (status.in_place?.batches ?? 0) + 1,
    id: 1500,
    sqlstate: '23514',
    on: 'no_secret',
  });
  expect(status.next_steps).toEqual(['mend row 1500', 'orchestrate migrate up --side blue --to 057']);
  // Everything before it is kept.
  expect(status.in_place?.rows_read).toBeGreaterThan(300);
  await execute(pair.blue.urls.superuser, `UPDATE user_settings SET llm_model = 'allowed' WHERE id = 1500`);
  expect(await changed('up')).toEqual([NAMES[1]]);
  expect((await migrate('status')).json<MigrateDocument>().in_place?.failed).toBeNull();
  expect((await compareInPlace(pair.blue.urls.superuser)).differences).toEqual([]);
});

it('rows of somebody else in the org tables are refused and stay', async () => {
  await migrate('up', '--to', '056');
  await execute(pair.blue.urls.owner, `INSERT INTO org (name) VALUES ('theirs')`);
  const ended = await migrate('up');
  expect([ended.exit, ended.json<{ error: ErrorDocument }>().error]).toMatchObject([
    3,
    { code: 'MIGRATION_REFUSED', found: 'rows in org' },
  ]);
  expect(await rows(pair.blue.urls.owner, 'SELECT name FROM org')).toEqual([{ name: 'theirs' }]);
  const status = (await migrate('status')).json<MigrateDocument>();
  expect(status.in_place).toBeNull();
});

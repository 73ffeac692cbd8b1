import { randomBytes } from 'node:crypto';
import { chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { migrateUp } from '../../migrations/migrator.ts';
import { grantsOf } from '../../orchestrator/grants/grants.ts';
import { clientConfig } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { preflight } from '../../orchestrator/phases/preflight.ts';
import { prepare } from '../../orchestrator/phases/prepare.ts';
import { createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import { catalogOf } from '../support/catalog.ts';
import { freshPair, ownPair, type Pair } from '../support/databases.ts';
import { runContext, SCHEMAS, type TestContext, type Urls } from '../support/run-context.ts';
import { execute, withClient } from '../support/sql.ts';

let pair: Pair;
let ctx: TestContext;
/** A pair of its own for every test of the surrounding block. */
function withFreshPair(): void {
  beforeEach(async () => {
    pair = await freshPair();
    ctx = runContext(pair, `t-${randomBytes(4).toString('hex')}`);
  });
  afterEach(async () => {
    await pair.drop();
  });
}

const check = async (place = ctx) => preflight(place, { copyWorkers: 2 });

/** Findings in short: `stop primary-key blue`. */
async function findings(place = ctx): Promise<string[]> {
  const report = await check(place);
  for (const f of report.findings) {
    // Principle 8: what was expected, what is there, and the command.
    expect([f.expected, f.found, f.fix].every((text) => text.length > 0)).toBe(true);
  }
  expect(report.ok).toBe(!report.findings.some((f) => f.severity === 'stop'));
  return report.findings.map((f) => `${f.severity} ${f.check}${f.side ? ` ${f.side}` : ''}`);
}

async function foundOf(name: string, place = ctx) {
  const finding = (await check(place)).findings.find((f) => f.check === name);
  expect(finding, `a finding ${name}`).toBeDefined();
  return finding;
}

describe('the pair', () => {
  withFreshPair();

  test('a sound pair has no findings, and preflight changes nothing', async () => {
    const before = [await catalogOf(pair.blue.urls.superuser), await catalogOf(pair.green.urls.superuser)];
    expect(await findings()).toEqual([]);
    expect([await catalogOf(pair.blue.urls.superuser), await catalogOf(pair.green.urls.superuser)]).toEqual(
      before,
    );
  });

  test('an org model from our own migrations, empty, is no finding', async () => {
    const config = clientConfig(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' });
    await migrateUp({ config, schemas: SCHEMAS, owner: pair.green.roles.owner, inPlace: false });
    expect(await findings()).toEqual([]);
  });

  test('a run that has begun is no finding either', async () => {
    await ensureControl(ctx);
    await (await prepare(ctx)).slot.release();
    expect(await findings()).toEqual([]);
  });

  test('exchanged URLs, before and after a migration has begun', async () => {
    const swapped: Urls = { blue: pair.green, green: pair.blue };
    expect(await findings(runContext(swapped, ctx.names.migration))).toEqual(['stop urls']);
    await ensureControl(ctx);
    await (await prepare(ctx)).slot.release();
    expect(
      (await findings(runContext(swapped, ctx.names.migration))).filter((f) => f.startsWith('stop urls')),
    ).toEqual(['stop urls blue', 'stop urls green', 'stop urls']);
  });

  test('the same database twice', async () => {
    expect(await findings(runContext({ blue: pair.blue, green: pair.blue }, ctx.names.migration))).toEqual([
      'stop same-database',
    ]);
  });

  test('two databases of one server are allowed', async () => {
    const second = await freshPair();
    try {
      await execute(second.blue.urls.owner, 'DROP TABLE user_settings');
      expect(
        await findings(runContext({ blue: pair.blue, green: second.blue }, ctx.names.migration)),
      ).toEqual([]);
    } finally {
      await second.drop();
    }
  });

  test('a wrong password and a dead port are errors of their own', async () => {
    const url = (change: (u: URL) => void): Urls => {
      const u = new URL(pair.green.urls.sync);
      change(u);
      return { blue: pair.blue, green: { urls: { sync: u.href } } };
    };
    const wrong = runContext(url((u) => (u.password = 'not-the-password')));
    await expect(check(wrong)).rejects.toMatchObject({ code: 'AUTHENTICATION', entry: { exit: 4 } });
    const dead = runContext(url((u) => (u.port = '1')));
    await expect(check(dead)).rejects.toMatchObject({ code: 'CANNOT_CONNECT', entry: { exit: 4 } });
  });
});

describe('the source', () => {
  // One pair for all: only the table differs.
  beforeAll(async () => {
    pair = await freshPair();
  });
  afterAll(async () => {
    await pair.drop();
  });
  beforeEach(async () => {
    ctx = runContext(pair, `t-${randomBytes(4).toString('hex')}`);
    await execute(pair.blue.urls.owner, 'DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    await withClient(pair.blue.urls.owner, createSourceTable);
  });

  const SOURCE_FINDINGS: readonly [string, string, readonly string[]][] = [
    ['no table', 'DROP TABLE user_settings', ['stop source blue']],
    [
      'no primary key',
      'ALTER TABLE user_settings DROP CONSTRAINT user_settings_pkey',
      ['stop primary-key blue'],
    ],
    [
      'another primary key',
      `ALTER TABLE user_settings DROP CONSTRAINT user_settings_pkey, ADD PRIMARY KEY (id, user_version)`,
      ['stop primary-key blue'],
    ],
    [
      'an unknown column',
      'ALTER TABLE user_settings ADD COLUMN git_user_name varchar',
      ['stop unknown-column blue'],
    ],
    ['a missing column', 'ALTER TABLE user_settings DROP COLUMN agent', ['stop missing-column blue']],
    [
      'another type',
      'ALTER TABLE user_settings ALTER language TYPE integer USING 1',
      ['stop column-type blue'],
    ],
    ['json as jsonb', 'ALTER TABLE user_settings ALTER mcp_config TYPE jsonb', ['stop column-type blue']],
    [
      'a NULL that green refuses',
      'ALTER TABLE user_settings ALTER user_version DROP NOT NULL',
      ['stop column-null blue'],
    ],
    [
      'a NULL that blue refuses',
      'ALTER TABLE user_settings ALTER email SET NOT NULL',
      ['warn column-null blue'],
    ],
    [
      'a generated column',
      `ALTER TABLE user_settings DROP COLUMN email, ADD COLUMN email varchar GENERATED ALWAYS AS (language) STORED`,
      ['stop generated-column blue'],
    ],
    [
      'no replica identity',
      'ALTER TABLE user_settings REPLICA IDENTITY NOTHING',
      ['stop replica-identity blue'],
    ],
    ['full replica identity', 'ALTER TABLE user_settings REPLICA IDENTITY FULL', []],
    ['row level security', 'ALTER TABLE user_settings ENABLE ROW LEVEL SECURITY', ['stop row-security blue']],
    ['an unlogged table', 'ALTER TABLE user_settings SET UNLOGGED', ['stop persistence blue']],
    ['a child', 'CREATE TABLE more () INHERITS (user_settings)', ['stop inheritance blue']],
    [
      'a parent',
      'CREATE TABLE parent (id integer); ALTER TABLE user_settings INHERIT parent',
      ['stop inheritance blue'],
    ],
    [
      'a trigger of somebody else',
      `CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
       CREATE TRIGGER audit BEFORE UPDATE ON user_settings FOR EACH ROW EXECUTE FUNCTION t()`,
      ['warn triggers blue'],
    ],
    ['a rule', 'CREATE RULE quiet AS ON DELETE TO user_settings DO ALSO NOTHING', ['warn rules blue']],
    [
      'a foreign key to it',
      'CREATE TABLE child (id integer REFERENCES user_settings)',
      ['warn foreign-keys blue'],
    ],
  ];
  test.each(SOURCE_FINDINGS)('%s', async (_, sql, expected) => {
    await execute(pair.blue.urls.owner, sql);
    expect(await findings()).toEqual(expected);
  });

  test('a partitioned table', async () => {
    await execute(
      pair.blue.urls.owner,
      `ALTER TABLE user_settings RENAME TO old; ALTER TABLE old RENAME CONSTRAINT user_settings_pkey TO old_pkey;
       CREATE TABLE user_settings (LIKE old INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY RANGE (id)`,
    );
    expect(await findings()).toEqual(['stop table-kind blue']);
  });

  test('the target of a subscription', async () => {
    await execute(
      pair.blue.urls.superuser,
      `CREATE SUBSCRIPTION s_${ctx.names.migration.slice(2)}
      CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false, enabled = false, slot_name = NONE)`,
    );
    await execute(
      pair.blue.urls.superuser,
      `INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
       SELECT s.oid, 'public.user_settings'::regclass, 'r' FROM pg_subscription AS s
       WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    );
    expect(await findings()).toEqual(['stop subscription blue']);
  });

  test('the message of an unknown column says how to add it', async () => {
    await execute(pair.blue.urls.owner, 'ALTER TABLE user_settings ADD COLUMN v1_enabled boolean');
    expect(await foundOf('unknown-column')).toMatchObject({
      found: 'column v1_enabled boolean, which it does not know',
      fix: expect.stringContaining(`column('v1_enabled', 'boolean', 'settings')`),
    });
  });
});

describe('the target', () => {
  withFreshPair();

  test('tables that are not ours', async () => {
    await execute(pair.green.urls.owner, `CREATE TABLE org (id integer); CREATE TABLE "user" (id integer)`);
    expect(await findings()).toEqual(['stop target-taken green', 'stop target-taken green']);
  });

  test('rows of somebody else', async () => {
    const config = clientConfig(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' });
    await migrateUp({ config, schemas: SCHEMAS, owner: pair.green.roles.owner, inPlace: false });
    await execute(pair.green.urls.app, `INSERT INTO org (name) VALUES ('theirs')`);
    expect(await findings()).toEqual(['stop target-rows green']);
  });

  test('a user_settings of its own', async () => {
    await execute(pair.green.urls.owner, 'CREATE TABLE user_settings (id integer)');
    expect(await findings()).toEqual(['stop target-source green']);
  });
});

describe('what others have left or are doing', () => {
  withFreshPair();

  test('another migration', async () => {
    await ensureControl(runContext(pair, 'another'));
    expect(await findings()).toEqual(['stop other-migration blue', 'stop other-migration green']);
  });

  test('a slot, a publication and a fence of an earlier run', async () => {
    await ensureControl(ctx);
    await (await prepare(ctx)).slot.release();
    for (const side of ['blue', 'green'] as const)
      await execute(pair[side].urls.sync, 'DROP SCHEMA orchestrator CASCADE');
    const found = await findings();
    expect(found).toContain('warn leftovers blue');
    expect(found).toContain('stop leftovers blue');
    expect(found).toContain('stop leftovers green');
    await withClient(pair.blue.urls.sync, (client) =>
      client.query('SELECT pg_drop_replication_slot($1)', [ctx.names.slot.blue]),
    );
  });

  test("a foreign session on the sync role's login", async () => {
    await withClient(
      pair.blue.urls.sync,
      async (client) => {
        const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
        const finding = await foundOf('foreign-session');
        expect(finding).toMatchObject({ side: 'blue', severity: 'stop' });
        expect(finding?.found).toContain(`pid ${rows[0]?.pid} (psql`);
      },
      { application_name: 'psql' },
    );
  });

  test('a prepared transaction and one that is old', async () => {
    await execute(
      pair.blue.urls.app,
      `BEGIN; SELECT 1; INSERT INTO user_settings DEFAULT VALUES; PREPARE TRANSACTION 'left'`,
    );
    expect(await findings()).toContain('warn prepared-transactions blue');
    await withClient(pair.blue.urls.app, (client) => client.query(`ROLLBACK PREPARED 'left'`));
  });
});

describe('rights', () => {
  // Roles belong to the server, so each of these has servers of its own.
  let own: Awaited<ReturnType<typeof ownPair>>;
  afterAll(async () => {
    await own?.drop();
  });

  test('each right that is missing is named with its GRANT', async () => {
    own = await ownPair({
      blue: { wal_level: 'replica', max_replication_slots: '1', max_wal_senders: '1' },
      green: { max_slot_wal_keep_size: '64MB', wal_sender_timeout: '5s', max_connections: '16' },
    });
    const place = runContext(own);
    const { sync, owner } = own.blue.roles;
    await execute(
      own.blue.urls.superuser,
      `ALTER ROLE "${sync}" NOREPLICATION; REVOKE "${owner}" FROM "${sync}";
       REVOKE CREATE ON DATABASE ${own.blue.database} FROM "${sync}"`,
    );
    const found = await findings(place);
    expect(found.sort()).toEqual([
      'stop connections green',
      'stop create blue',
      'stop ownership blue',
      'stop replication blue',
      'stop senders blue',
      'stop slots blue',
      'stop wal_level blue',
      'warn retention green',
      'warn wal_sender_timeout green',
    ]);
    const line = `orchestrate grants --side blue --role ${sync} --owner ${owner} --database ${own.blue.database}`;
    expect((await foundOf('create', place))?.fix).toBe(
      `GRANT CREATE ON DATABASE "${own.blue.database}" TO "${sync}"; or all its rights: ${line}`,
    );
  });

  test('what is too much is named, and the statements of grants take it away and give back what is missing', async () => {
    const { sync, owner } = own.blue.roles;
    const { database, urls } = own.blue;
    await execute(urls.superuser, `ALTER ROLE "${sync}" CREATEROLE CREATEDB BYPASSRLS`);
    const excess = async () => (await check(runContext(own))).findings.filter((f) => f.check === 'excess');
    expect(await excess()).toMatchObject([
      { side: 'blue', severity: 'warn', found: 'CREATEROLE, CREATEDB, BYPASSRLS' },
    ]);
    await execute(urls.superuser, `ALTER ROLE "${sync}" SUPERUSER`);
    expect((await excess())[0]?.found).toMatch(/^SUPERUSER/);
    const { server, database: inside } = grantsOf(
      { task: 'run', platform: 'plain', role: sync, owner, database, schemas: SCHEMAS },
      'blue',
    );
    for (const sql of [...server, ...inside]) await execute(urls.superuser, sql);
    const left = (await findings(runContext(own))).filter((f) => f.endsWith(' blue'));
    expect(left.sort()).toEqual(['stop senders blue', 'stop slots blue', 'stop wal_level blue']);
    // Of another login the same is said, by one that only looks.
    const looking = await preflight(runContext({ blue: { urls: { sync: urls.app } }, green: own.green }), {
      copyWorkers: 2,
      login: sync,
    });
    expect(looking.findings.filter((f) => f.check === 'ownership' && f.side === 'blue')).toEqual([]);
  });

  test('a server in recovery as blue', async () => {
    const server = own.servers.blue;
    await server.stop();
    const signal = join(server.dataDir, 'standby.signal');
    const { uid, gid } = await stat(server.dataDir);
    await writeFile(signal, '');
    await chown(signal, uid, gid);
    await server.start();
    const found = await findings(runContext(own));
    expect(found).toContain('stop recovery blue');
  });
});

import { randomBytes } from 'node:crypto';
import { afterEach, expect, it } from 'vitest';
import type { GrantsDocument } from '../../orchestrator/cli/grants.ts';
import type { Task } from '../../orchestrator/grants/task.ts';
import { createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import type { HandoverDocument, PreflightDocument } from '../../orchestrator/state/documents.ts';
import { ident } from '../../src/mapping/identifier.ts';
import type { Pair, TestDatabase } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { sharedServers } from '../support/servers.ts';
import { execute, rows, withClient } from '../support/sql.ts';

const suffix = randomBytes(3).toString('hex');
/** Padded to the 63 bytes that PostgreSQL keeps of a name. */
const full = (name: string) => {
  let long = `${name}${suffix}`;
  while (Buffer.byteLength(long) < 63) long += 'x';
  return long;
};

const NAMES = {
  owner: full(`a"b'; -- `),
  app: full('User $$ '),
  sync: full('ä\\Sync % / @:? '),
  database: full(`Da"ta' -- ä `),
};
const SCHEMAS = { source: `So"urce'; ä $fence$`, org: 'Org; "--' };
const ROLES = new Set<string>([NAMES.owner, NAMES.app, NAMES.sync]);

const servers = await sharedServers();
let running: Running | undefined;

/** The URL of a login; passwords are set by the test, as an operator sets them with psql. */
function at(side: 'blue' | 'green', role?: string): string {
  const url = new URL(servers[side].superuserUrl);
  url.pathname = `/${encodeURIComponent(NAMES.database)}`;
  if (role !== undefined) {
    url.username = encodeURIComponent(role);
    url.password = 'secret';
  }
  return url.href;
}

const both = (role: string) => ({ blue: at('blue', role), green: at('green', role) });

const OPTIONS = {
  ORCHESTRATE_SOURCE_SCHEMA: SCHEMAS.source,
  ORCHESTRATE_ORG_SCHEMA: SCHEMAS.org,
  ORCHESTRATE_MIGRATION: `hostile-${suffix}`,
};

const database = (side: 'blue' | 'green'): TestDatabase => ({
  database: NAMES.database,
  major: servers[side].major,
  roles: NAMES,
  urls: {
    superuser: at(side),
    owner: at(side, NAMES.owner),
    app: at(side, NAMES.app),
    sync: at(side, NAMES.sync),
  },
});
const pair: Pair = { blue: database('blue'), green: database('green'), drop: async () => {} };
const as = (role: string): Journey => journey(pair, both(role), OPTIONS);

type Part = 'server' | 'in_database' | 'in_control_schema';

/** Executes what the program prints for a task, part by part, as whom it says. */
async function grant(task: Task, role: string, parts: readonly Part[]): Promise<void> {
  ROLES.add(role);
  const printed = await as(NAMES.sync).command(
    'grants',
    '--json',
    '--task',
    task,
    '--role',
    role,
    '--owner',
    NAMES.owner,
    '--application',
    NAMES.app,
    '--database',
    NAMES.database,
  );
  expect([printed.exit, printed.stderr]).toEqual([0, '']);
  for (const { side, ...given } of printed.json<GrantsDocument>().sides)
    for (const part of parts) {
      const url = part === 'in_control_schema' ? at(side, NAMES.sync) : at(side);
      await withClient(
        url,
        async (client) => {
          for (const sql of given[part]) await client.query(sql);
          if (part === 'server') await client.query(`ALTER ROLE ${ident(role)} PASSWORD 'secret'`);
        },
        // Who repairs rights uses psql; the sync role's login is ours alone, and such a session has to be short.
        { application_name: 'orchestrate/grants' },
      );
    }
}

afterEach(async () => {
  running?.kill('SIGKILL');
  await running?.ended;
  for (const side of ['blue', 'green'] as const) {
    const { superuserUrl } = servers[side];
    await execute(
      superuserUrl,
      `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name LIKE '%hostile_${suffix}%' AND active`,
    );
    for (const { name } of await rows<{ name: string }>(
      superuserUrl,
      `SELECT slot_name AS name FROM pg_replication_slots WHERE slot_name LIKE '%hostile_${suffix}%'`,
    ))
      await rows(superuserUrl, 'SELECT pg_drop_replication_slot($1)', [name]);
    await execute(superuserUrl, `DROP DATABASE IF EXISTS ${ident(NAMES.database)} WITH (FORCE)`);
    for (const role of ROLES) await execute(superuserUrl, `DROP ROLE IF EXISTS ${ident(role)}`);
  }
});

it('with hostile names and exactly the rights of grants: run, look, ask, hand over and back, finalize', {
  timeout: 300_000,
}, async () => {
  expect(Object.values(NAMES).map((name) => Buffer.byteLength(name))).toEqual([63, 63, 63, 63]);
  for (const side of ['blue', 'green'] as const) {
    const { superuserUrl } = servers[side];
    for (const role of [NAMES.owner, NAMES.app])
      await execute(superuserUrl, `CREATE ROLE ${ident(role)} LOGIN PASSWORD 'secret'`);
    await execute(
      superuserUrl,
      `CREATE DATABASE ${ident(NAMES.database)} OWNER ${ident(NAMES.owner)} TEMPLATE template0`,
    );
    // Nothing is anybody's by default: what is missing in grants shows.
    await execute(superuserUrl, `REVOKE ALL ON DATABASE ${ident(NAMES.database)} FROM PUBLIC`);
  }
  await grant('run', NAMES.sync, ['server', 'in_database']);
  await withClient(at('blue', NAMES.owner), async (client) => {
    await client.query(`SET search_path = ${ident(SCHEMAS.source)}`);
    await createSourceTable(client);
  });
  const table = `${ident(SCHEMAS.source)}.user_settings`;
  await execute(
    at('blue', NAMES.app),
    `INSERT INTO ${table} (keycloak_user_id, llm_model) SELECT 'k' || n, 'm' || n FROM generate_series(1, 50) AS n`,
  );

  const watch = full('Watch; ');
  const cut = full('cut"over ');
  const pauser = full(`pause' `);
  for (const [task, role] of [
    ['status', watch],
    ['cutover', cut],
    ['pause', pauser],
  ] as const)
    await grant(task, role, ['server', 'in_database']);

  const found = (
    await as(NAMES.sync).command('preflight', '--backup-confirmed', '--json')
  ).json<PreflightDocument>();
  expect(found).toEqual({ ok: true, findings: [] });
  // The same, said by a login that only looks.
  const looked = (
    await as(watch).command('preflight', '--role', NAMES.sync, '--backup-confirmed', '--json')
  ).json<PreflightDocument>();
  expect(looked).toEqual({ ok: true, findings: [] });

  const sync = as(NAMES.sync);
  running = sync.run();
  await sync.ready(running);
  // Before its last part is granted a login sees nothing, and is told so.
  const early = await as(watch).command('status', '--json');
  expect([early.exit, early.json<{ error: { code: string } }>().error.code]).toEqual([1, 'RIGHT_MISSING']);
  await grant('status', watch, ['in_control_schema']);
  await grant('cutover', cut, ['in_control_schema']);
  await grant('pause', pauser, ['in_control_schema']);

  expect(await as(watch).status()).toMatchObject({ phase: 'syncing', serving: 'blue' });
  const events = await as(watch).command('events', '--json');
  expect(events.json<{ events: unknown[] }>().events.length).toBeGreaterThan(3);

  // One right is not the other's, and looking is not asking; nobody writes a row past the functions.
  for (const [role, command] of [
    [watch, 'pause'],
    [cut, 'pause'],
    [pauser, 'cutover'],
    [cut, 'finalize'],
  ] as const) {
    const refused = await as(role)
      .command(command, '--yes', '--json')
      .then((ended) => (ended.exit === 2 ? as(role).command(command, '--json') : ended));
    expect([command, refused.exit, refused.json<{ error: { code: string } }>().error.code]).toEqual([
      command,
      1,
      'RIGHT_MISSING',
    ]);
  }
  for (const statement of [
    `INSERT INTO orchestrator.request (migration, command, epoch, expires_at) VALUES ('x', 'cutover', 0, now())`,
    `UPDATE orchestrator.side SET role = 'standby'`,
    'SELECT llm_api_key FROM orchestrator.parked',
    `SELECT orchestrator.set_fence('{}', 'open', NULL, NULL, 'x')`,
  ])
    for (const role of [watch, cut])
      await expect(execute(at('green', role), statement)).rejects.toMatchObject({ code: '42501' });

  expect((await as(pauser).command('pause', '--json')).exit).toBe(0);
  expect((await sync.command('resume', '--json')).exit).toBe(0);

  const over = await as(cut).command('cutover', '--yes', '--json');
  expect([over.exit, over.stderr.includes('password')]).toEqual([0, false]);
  expect(over.json<HandoverDocument>()).toMatchObject({ outcome: 'done' });
  const [asked] = await rows<{ by: string }>(
    at('green'),
    `SELECT by ->> 'database_user' AS by FROM orchestrator.request WHERE command = 'cutover'`,
  );
  expect(asked?.by).toBe(cut);
  await expect(
    execute(at('blue', NAMES.app), `UPDATE ${table} SET llm_model = 'late'`),
  ).rejects.toMatchObject({ code: '25006' });
  await execute(
    at('green', NAMES.app),
    `UPDATE ${ident(SCHEMAS.org)}.settings SET llm_model = 'new' WHERE id = 7`,
  );

  expect((await sync.command('revert', '--yes', '--json')).exit).toBe(0);
  expect(
    await rows(at('blue', NAMES.app), `SELECT llm_model FROM ${table} WHERE id IN (7, 8) ORDER BY id`),
  ).toEqual([{ llm_model: 'new' }, { llm_model: 'm8' }]);
  const ended = await sync.command('finalize', '--yes', '--json');
  expect([ended.exit, ended.stderr]).toMatchObject([0, expect.any(String)]);
  expect((await running.ended).exit).toBe(0);
  running = undefined;
});

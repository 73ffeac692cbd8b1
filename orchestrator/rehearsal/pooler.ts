import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { failure } from '../errors/failure.ts';
import { rememberUrl } from '../log/redact.ts';
import { SIDES, type Side } from '../pg/side.ts';
import { asAccount, serverAccount } from './embedded/account.ts';
import { freePort } from './embedded/port.ts';

/** A pgbouncer of our own in front of both databases. */
export interface Pooler {
  /** The admin console. */
  readonly console: string;
  /** The database as clients call it; it leads to blue at first. */
  readonly url: string;
  /** The database's name there. */
  readonly database: string;
  /** The file of targets that its configuration takes in. */
  readonly include: string;
  stop(): Promise<void>;
}

export interface PoolerOptions {
  /** The executable. */
  readonly program: string;
  /** Where it leads, with the role it logs in as. */
  readonly urls: Readonly<Record<Side, string>>;
  readonly mode: 'transaction' | 'session';
}

/** @returns where a program is; undefined when it is not installed. */
export function findOnPath(program: string): string | undefined {
  for (const directory of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']) {
    const path = join(directory, program);
    try {
      if (directory === '') continue;
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory.
    }
  }
  return undefined;
}

const DATABASE = 'app';
const START_MS = 30_000;

/**
 * Starts one instance; it ends with `stop`.
 * @throws OrchestrateError REHEARSAL_REFUSED when the program cannot be started.
 */
export async function startPooler({ program, urls, mode }: PoolerOptions): Promise<Pooler> {
  const account = await serverAccount();
  const directory = await mkdtemp(join(tmpdir(), 'orchestrate-pgbouncer-'));
  const port = await freePort();
  const include = join(directory, 'target.ini');
  const file = async (name: string, text: string): Promise<void> => {
    const path = join(directory, name);
    // The directory keeps others out; whoever replaces the targets need not be pgbouncer's account.
    await writeFile(path, text, { mode: 0o644 });
    if (account) await chown(path, account.uid, account.gid);
  };
  const line = (side: Side): string => {
    const { hostname, port: at, pathname, username, password } = new URL(urls[side]);
    return `[databases]\n${DATABASE} = host=${hostname} port=${at} dbname=${pathname.slice(1)} user=${username} password='${decodeURIComponent(password)}'\n`;
  };
  for (const side of SIDES) await file(`target.ini.${side}`, line(side));
  await file('target.ini', line('blue'));
  await file('users.txt', '"admin" "admin-password"\n"client" "client-password"\n');
  await file(
    'pgbouncer.ini',
    `%include ${include}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = md5
auth_file = ${join(directory, 'users.txt')}
admin_users = admin
pool_mode = ${mode}
default_pool_size = 10
max_client_conn = 100
`,
  );
  if (account) await chown(directory, account.uid, account.gid);
  const child: ChildProcess = spawn(program, ['-q', join(directory, 'pgbouncer.ini')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    ...asAccount(account),
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2_000);
  });
  let over = false;
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', (error) => {
      said += String(error);
      resolve();
    });
  }).then(() => {
    over = true;
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGINT');
    const last = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await ended;
    clearTimeout(last);
    await rm(directory, { recursive: true, force: true });
  };
  const pooler = {
    console: `postgres://admin:admin-password@127.0.0.1:${port}/pgbouncer`,
    url: `postgres://client:client-password@127.0.0.1:${port}/${DATABASE}`,
    database: DATABASE,
    include,
    stop,
  };
  rememberUrl(pooler.console);
  rememberUrl(pooler.url);
  for (const deadline = Date.now() + START_MS; !(await answers(pooler.console)); ) {
    if (over || Date.now() > deadline) {
      await stop();
      throw failure('REHEARSAL_REFUSED', {
        message: 'pgbouncer does not start',
        expected: `${program} to answer`,
        found: said.trim() === '' ? 'no answer' : said.trim(),
        fix: 'apt-get install pgbouncer',
      });
    }
    await delay(50);
  }
  return pooler;
}

async function answers(console: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: console, connectionTimeoutMillis: 2_000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('SHOW VERSION');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

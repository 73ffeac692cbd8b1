/** Real pgbouncers in front of a pair of databases, each with a file of targets of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asAccount, serverAccount } from '../../orchestrator/rehearsal/embedded/account.ts';
import { freePort } from '../../orchestrator/rehearsal/embedded/port.ts';
import type { Pair } from './databases.ts';
import { rows } from './sql.ts';
import { requireTool } from './tool.ts';
import { until } from './until.ts';

export const PGBOUNCER = requireTool('pgbouncer', 'apt-get install pgbouncer');

export interface Pgbouncer {
  /** The admin console. */
  readonly console: string;
  /** The database as clients call it; it leads to blue at first. */
  readonly url: string;
  readonly include: string;
  stop(): Promise<void>;
}

/** Starts one instance; it ends with `stop`. */
export async function startPgbouncer(pair: Pair, mode: 'transaction' | 'session'): Promise<Pgbouncer> {
  if (!PGBOUNCER.found) throw new Error(PGBOUNCER.reason);
  const account = await serverAccount();
  const directory = mkdtempSync(join(tmpdir(), 'orchestrate-pgbouncer-'));
  const port = await freePort();
  const include = join(directory, 'target.ini');
  const file = (name: string, text: string): void => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o644 });
    if (account) chownSync(path, account.uid, account.gid);
  };
  const line = (side: 'blue' | 'green'): string => {
    const { hostname, port: at, pathname, username, password } = new URL(pair[side].urls.app);
    return `[databases]\napp = host=${hostname} port=${at} dbname=${pathname.slice(1)} user=${username} password='${decodeURIComponent(password)}'\n`;
  };
  for (const side of ['blue', 'green'] as const) file(`target.ini.${side}`, line(side));
  file('target.ini', line('blue'));
  file('users.txt', '"admin" "admin-password"\n"client" "client-password"\n');
  file(
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
  if (account) chownSync(directory, account.uid, account.gid);
  const child: ChildProcess = spawn(PGBOUNCER.path, ['-q', join(directory, 'pgbouncer.ini')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    ...asAccount(account),
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const console = `postgres://admin:admin-password@127.0.0.1:${port}/pgbouncer`;
  await until('pgbouncer to answer', async () => {
    if (child.exitCode !== null) throw new Error(said);
    return (await rows(console, 'SHOW VERSION')).length > 0;
  });
  return {
    console,
    url: `postgres://client:client-password@127.0.0.1:${port}/app`,
    include,
    stop: async () => {
      child.kill('SIGINT');
      const last = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(last);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

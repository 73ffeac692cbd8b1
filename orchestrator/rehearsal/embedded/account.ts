import { readFile, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';

/** The operating system account that an embedded server runs as. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Who runs a server: `undefined` means "as this process", because only root may choose somebody else. */
export type ServerAccount = Account | undefined;

/**
 * Finds the account the server has to run as. PostgreSQL refuses to run as root; root therefore lends it to
 * `postgres`, or to `nobody` where no such account exists. No account is ever created on the host.
 *
 * @throws Error when the current uid has no passwd entry (initdb looks its own name up) or root finds no account.
 */
export async function serverAccount(): Promise<ServerAccount> {
  if (process.platform === 'win32') {
    throw new Error(
      'Embedded PostgreSQL servers are not supported on Windows. Use --blue-url and --green-url.',
    );
  }
  if (process.getuid?.() !== 0) {
    try {
      userInfo();
    } catch {
      throw new Error(
        `The uid ${process.getuid?.()} has no entry in /etc/passwd, and initdb cannot run without one. ` +
          'Run as root (the servers then run as "postgres" or "nobody") or add an entry.',
      );
    }
    return undefined;
  }
  const passwd = await readFile('/etc/passwd', 'utf8');
  const account = findAccount(passwd, 'postgres') ?? findAccount(passwd, 'nobody');
  if (account === undefined) {
    throw new Error(
      'PostgreSQL refuses to run as root, and /etc/passwd has neither "postgres" nor "nobody". Run as another user.',
    );
  }
  return account;
}

/** Reads one account from the text of a passwd file; `undefined` when it is not there or is root under another name. */
export function findAccount(passwd: string, name: string): ServerAccount {
  for (const line of passwd.split('\n')) {
    const fields = line.split(':');
    if (fields[0] !== name) continue;
    const uid = Number(fields[2]);
    const gid = Number(fields[3]);
    if (Number.isInteger(uid) && Number.isInteger(gid) && uid > 0) return { name, uid, gid };
  }
  return undefined;
}

/**
 * Tells whether the account may walk into a directory, by the permission bits of it and of all its parents.
 * Used to choose a place, never as the last word: access lists and mount options can still say no.
 */
export async function canEnter(directory: string, account: ServerAccount): Promise<boolean> {
  if (account === undefined) return true;
  for (let path = resolve(directory); ; path = dirname(path)) {
    const entry = await stat(path);
    const bit = entry.uid === account.uid ? 0o100 : entry.gid === account.gid ? 0o010 : 0o001;
    if ((entry.mode & bit) === 0) return false;
    if (path === dirname(path)) return true;
  }
}

/** The spawn options that give a child to the account. */
export function asAccount(account: ServerAccount): { uid?: number; gid?: number } {
  return account === undefined ? {} : { uid: account.uid, gid: account.gid };
}

/**
 * The environment of initdb and of the server: ours without everything that changes where they connect (PG*),
 * what they load (LD_*, DYLD_*) or how they speak (LC_*, LANG). Under a caller's LANG=C a cluster would become
 * SQL_ASCII, and its messages could not be matched.
 */
export function serverEnvironment(source: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(source)) {
    if (/^(PG|LC_|LANG|LD_|DYLD_|NODE_|ORCHESTRATE_)/.test(name)) continue;
    environment[name] = value;
  }
  environment['LC_ALL'] = 'C';
  return environment;
}

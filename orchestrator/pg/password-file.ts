import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { failure } from '../errors/failure.ts';

/** What a line of the file is looked up by. */
export interface Account {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The password of an account from PGPASSFILE, or `~/.pgpass`: the first line `host:port:database:user:password` that
 * fits, with `*` for anything. https://www.postgresql.org/docs/current/libpq-pgpass.html
 * @returns undefined when there is no such file or no such line.
 * @throws OrchestrateError CONFIG_INVALID when others may read it, or the file that was named cannot be read.
 */
export function passwordOf(account: Account, environment: Environment): string | undefined {
  const named = environment['PGPASSFILE'];
  const path = named === undefined || named === '' ? join(homedir(), '.pgpass') : named;
  let text: string;
  try {
    const { mode } = statSync(path);
    // libpq passes such a file over; that reads like a wrong password to whoever wrote it.
    if ((mode & 0o077) !== 0)
      throw failure('CONFIG_INVALID', {
        message: 'the password file cannot be used',
        expected: `${path} readable by its owner only`,
        found: `mode ${(mode & 0o777).toString(8)}`,
        fix: `chmod 600 ${path}`,
      });
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (named === undefined || named === '') {
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES') return undefined;
    } else if (code?.startsWith('E'))
      throw failure('CONFIG_INVALID', {
        message: 'the password file cannot be read',
        expected: `a readable file at ${path}, because PGPASSFILE names it`,
        found: code,
        fix: 'check PGPASSFILE and the rights of that file',
      });
    throw error;
  }
  const wanted = [account.host, String(account.port), account.database, account.user];
  for (const line of text.split(/\r?\n/)) {
    if (line === '' || line.startsWith('#')) continue;
    const fields = fieldsOf(line);
    const password = fields[4];
    if (password !== undefined && wanted.every((value, i) => fields[i] === '*' || fields[i] === value))
      return password;
  }
  return undefined;
}

/** The four fields that are matched and the rest of the line; a backslash takes the character after it as it is. */
function fieldsOf(line: string): string[] {
  const fields = [''];
  for (let i = 0; i < line.length; i++) {
    const char = line.charAt(i);
    if (char === '\\' && i + 1 < line.length) {
      i += 1;
      fields.push(`${fields.pop()}${line.charAt(i)}`);
    } else if (char === ':' && fields.length < 5) fields.push('');
    else fields.push(`${fields.pop()}${char}`);
  }
  return fields;
}

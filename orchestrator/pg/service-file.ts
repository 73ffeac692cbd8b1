import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

type Environment = Readonly<Record<string, string | undefined>>;

/** What a section may say; what else libpq knows there would change a connection in ways nobody looks for. */
export const SERVICE_KEYS = [
  'host',
  'port',
  'dbname',
  'user',
  'password',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'application_name',
  'connect_timeout',
];

/**
 * The section of a connection service: `[name]` and `key=value` lines in PGSERVICEFILE, `~/.pg_service.conf`, or
 * `pg_service.conf` in PGSYSCONFDIR, in this order. https://www.postgresql.org/docs/current/libpq-pgservice.html
 * @returns its keys, or what was expected and found instead; values are never repeated.
 */
export function readService(
  name: string,
  environment: Environment,
): { values: Readonly<Record<string, string>> } | { expected: string; found: string } {
  const named = environment['PGSERVICEFILE'];
  const paths = named
    ? [named]
    : [
        join(homedir(), '.pg_service.conf'),
        ...(environment['PGSYSCONFDIR'] ? [join(environment['PGSYSCONFDIR'], 'pg_service.conf')] : []),
      ];
  let readable = false;
  for (const path of paths) {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch {
      continue;
    }
    readable = true;
    const section = sectionOf(text, name);
    if (section === undefined) continue;
    const unknown = Object.keys(section).find((key) => !SERVICE_KEYS.includes(key));
    if (unknown !== undefined)
      return {
        expected: `keys among ${SERVICE_KEYS.join(', ')}`,
        found: `key ${unknown.slice(0, 40)} in ${path}`,
      };
    return { values: section };
  }
  return {
    expected: `a section [${name}] in ${paths.join(' or ')}`,
    found: readable ? 'no such section' : 'no file that can be read',
  };
}

function sectionOf(text: string, name: string): Record<string, string> | undefined {
  let section: Record<string, string> | undefined;
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith('[')) {
      if (section !== undefined) break;
      if (line === `[${name}]`) section = {};
      continue;
    }
    const at = line.indexOf('=');
    if (section !== undefined && at > 0) section[line.slice(0, at).trim()] ??= line.slice(at + 1).trim();
  }
  return section;
}

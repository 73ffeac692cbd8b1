import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { ident } from '../../../src/mapping/identifier.ts';
import { failure } from '../../errors/failure.ts';
import { rememberUrl } from '../../log/redact.ts';
import { parseEndpoint } from '../../pg/endpoint.ts';
import type { Side } from '../../pg/side.ts';
import { openSession } from '../connection.ts';

/** How the rehearsal's application reaches a side: never as the sync role, which the fence lets pass. */
export interface ApplicationLogin {
  readonly url: string;
  /** Takes a login away that was made for this rehearsal. */
  drop(): Promise<void>;
}

const OWNER = `
  SELECT coalesce(
           (SELECT c.relowner::regrole::text FROM pg_class AS c WHERE c.oid = to_regclass('public.user_settings')),
           (SELECT d.datdba::regrole::text FROM pg_database AS d WHERE d.datname = current_database())
         ) AS owner`;

/**
 * The application's own login where a file names it; else one is made that has the rights of the tables' owner, which
 * only a login may do that can create roles and grant that one.
 * @throws OrchestrateError CONFIG_INVALID that names the option to give.
 */
export async function applicationLogin(
  side: Side,
  syncUrl: string,
  file: string | undefined,
): Promise<ApplicationLogin> {
  if (file !== undefined) return { url: given(side, syncUrl, file), drop: async () => undefined };
  const name = `orchestrate_rehearsal_${randomBytes(4).toString('hex')}`;
  const password = randomBytes(18).toString('hex');
  const client = await openSession(syncUrl, 'orchestrate/rehearsal login');
  try {
    const { rows } = await client.query<{ owner: string }>(OWNER);
    await client.query('BEGIN');
    await client.query(
      `CREATE ROLE ${ident(name)} LOGIN NOSUPERUSER INHERIT PASSWORD ${pg.escapeLiteral(password)}`,
    );
    // regrole has quoted the name already.
    await client.query(`GRANT ${rows[0]?.owner ?? 'CURRENT_USER'} TO ${ident(name)}`);
    await client.query('COMMIT');
  } catch (error) {
    throw failure('CONFIG_INVALID', {
      message: `the rehearsal's application has no login on ${side}`,
      expected: `--${side}-app-url-file, or a sync role that may create a login`,
      found: `no such file, and ${(error as { code?: string }).code ?? 'an error'} from CREATE ROLE`,
      fix: `orchestrate rehearse --${side}-app-url-file FILE`,
      cause: error,
    });
  } finally {
    await client.end();
  }
  const url = new URL(syncUrl);
  url.username = name;
  url.password = password;
  rememberUrl(url.href);
  return {
    url: url.href,
    drop: async () => {
      const dropper = await openSession(syncUrl, 'orchestrate/rehearsal login');
      try {
        await dropper.query(`DROP ROLE IF EXISTS ${ident(name)}`);
      } finally {
        await dropper.end();
      }
    },
  };
}

function given(side: Side, syncUrl: string, file: string): string {
  const refuse = (expected: string, found: string): never => {
    throw failure('CONFIG_INVALID', {
      message: `the application's URL of ${side} cannot be used`,
      expected,
      found,
      fix: `check --${side}-app-url-file`,
    });
  };
  let url = '';
  try {
    url = readFileSync(file, 'utf8').trim();
  } catch (error) {
    refuse(`a readable file at ${file}`, (error as NodeJS.ErrnoException).code ?? 'an error');
  }
  rememberUrl(url);
  const [own, sync] = [parseEndpoint(side, url), parseEndpoint(side, syncUrl)];
  if (own.user === sync.user)
    refuse('a login that is not the sync role', `${own.user}, which passes the fence`);
  if (own.database !== sync.database) refuse(`the database ${sync.database}`, own.database);
  return url;
}

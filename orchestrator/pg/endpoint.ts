import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { failure } from '../errors/failure.ts';
import type { Side } from './side.ts';

/** One database, as parsed once from a connection URL. `password` is the only secret in it; never print an endpoint. */
export interface Endpoint {
  readonly side: Side;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string | undefined;
  readonly tls: ConnectionOptions | false;
}

const SSL_MODES = ['disable', 'no-verify', 'verify-full'];

/** `user@host:port/database`: where a connection leads and as whom, for the one who configures it. */
export function address(e: Endpoint): string {
  return `${e.user}@${label(e)}`;
}

/** `host:port/database`, the form of an endpoint that errors and reports print. */
export function label(e: Endpoint): string {
  return `${e.host}:${e.port}/${e.database}`;
}

/**
 * Parses `postgres://user:password@host:port/database?sslmode=…`.
 *
 * `sslmode` is `disable`, `no-verify` or `verify-full`; the default is `verify-full` for anything but loopback.
 * `sslrootcert`, `sslcert` and `sslkey` name PEM files.
 * @throws OrchestrateError CONFIG_INVALID that never repeats the URL.
 */
export function parseEndpoint(side: Side, url: string): Endpoint {
  const invalid = (expected: string, found: string): never => {
    throw failure('CONFIG_INVALID', { message: `the ${side} URL cannot be used`, expected, found });
  };
  let u: URL;
  try {
    u = new URL(url);
  } catch {
    return invalid('postgres://user@host:port/database', 'text that is no URL');
  }
  if (u.protocol !== 'postgres:' && u.protocol !== 'postgresql:')
    return invalid('a URL that starts with postgres://', 'another scheme');
  let decoded: { user: string; password: string; database: string };
  try {
    decoded = {
      user: decodeURIComponent(u.username),
      password: decodeURIComponent(u.password),
      database: decodeURIComponent(u.pathname.slice(1)),
    };
  } catch {
    return invalid('percent-encoded user, password and database', 'a malformed % sequence');
  }
  if (decoded.user === '') return invalid('a user name', 'none');
  if (decoded.database === '') return invalid('a database name', 'none');
  const host = u.hostname.replace(/^\[|\]$/g, '');
  if (host === '') return invalid('a host name', 'none');
  const known = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'application_name', 'connect_timeout'];
  for (const name of u.searchParams.keys())
    if (!known.includes(name)) return invalid(`parameters among ${known.join(', ')}`, `parameter ${name}`);
  return {
    side,
    host,
    port: u.port === '' ? 5432 : Number(u.port),
    database: decoded.database,
    user: decoded.user,
    password: decoded.password === '' ? undefined : decoded.password,
    tls: tlsOptions(host, u.searchParams, invalid),
  };
}

function tlsOptions(
  host: string,
  params: URLSearchParams,
  invalid: (expected: string, found: string) => never,
): ConnectionOptions | false {
  const loopback = host === 'localhost' || host === '::1' || host.startsWith('127.');
  const mode = params.get('sslmode') ?? (loopback ? 'disable' : 'verify-full');
  if (!SSL_MODES.includes(mode)) return invalid(`sslmode among ${SSL_MODES.join(', ')}`, mode);
  if (mode === 'disable') return false;
  const file = (name: string): { [k: string]: Buffer } => {
    const path = params.get(`ssl${name}`);
    if (path === null) return {};
    try {
      return { [name === 'rootcert' ? 'ca' : name]: readFileSync(path) };
    } catch {
      return invalid(`a readable PEM file as ssl${name}`, 'a file that cannot be read');
    }
  };
  return {
    rejectUnauthorized: mode === 'verify-full',
    servername: host,
    ...file('rootcert'),
    ...file('cert'),
    ...file('key'),
  };
}

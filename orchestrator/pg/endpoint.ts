import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { type ConnectionOptions, createSecureContext } from 'node:tls';
import { failure } from '../errors/failure.ts';
import { rememberSecret } from '../log/redact.ts';
import { passwordOf } from './password-file.ts';
import { readService } from './service-file.ts';
import type { Side } from './side.ts';

/** One database, as parsed from a connection URL. Password and TLS key are secrets; never print an endpoint. */
export interface Endpoint {
  readonly side: Side;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string | undefined;
  readonly tls: ConnectionOptions | false;
  /** The same place with the password and the certificates as they are now: secrets are rotated while a run lasts. */
  readonly renewed?: () => Pick<Endpoint, 'password' | 'tls'>;
}

type Environment = Readonly<Record<string, string | undefined>>;
type Refuse = (expected: string, found: string) => never;

const SSL_MODES = ['disable', 'no-verify', 'verify-full'];

/** `user@host:port/database`: where a connection leads and as whom, for the one who configures it. */
export function address(e: Endpoint): string {
  return `${e.user}@${label(e)}`;
}

/** `host:port/database`, the form of an endpoint that errors and reports print. */
export function label(e: Endpoint): string {
  return `${e.host}:${e.port}/${e.database}`;
}

const PARAMETERS = [
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'application_name',
  'connect_timeout',
  'service',
];

/**
 * Parses `postgres://user:password@host:port/database?sslmode=…`, or `postgres://?service=name`: what the URL does not
 * say is taken from that section of the connection service file.
 *
 * `sslmode` is `disable`, `no-verify` or `verify-full`; the default is `verify-full` for anything but loopback.
 * `sslrootcert`, `sslcert` and `sslkey` name PEM files.
 * @throws OrchestrateError CONFIG_INVALID that never repeats the URL.
 */
export function parseEndpoint(side: Side, url: string, environment: Environment = process.env): Endpoint {
  const invalid: Refuse = (expected, found) => {
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
  for (const name of u.searchParams.keys()) {
    if (!PARAMETERS.includes(name))
      return invalid(`parameters among ${PARAMETERS.join(', ')}`, `parameter ${name.slice(0, 40)}`);
    if (u.searchParams.getAll(name).length > 1) return invalid(`${name} once`, 'more than once');
  }
  const named = u.searchParams.get('service');
  const service = named === null ? {} : serviceOf(named, environment, invalid);
  const given = (name: string): string | undefined => u.searchParams.get(name) ?? service[name];
  const user = decoded.user || (service['user'] ?? '');
  const database = decoded.database || (service['dbname'] ?? '');
  const host = (u.hostname || (service['host'] ?? '')).replace(/^\[|\]$/g, '');
  if (user === '') return invalid('a user name', 'none');
  if (database === '') return invalid('a database name', 'none');
  if (host === '') return invalid('a host name', 'none');
  const port = u.port || (service['port'] ?? '5432');
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535 || Number(port) === 0)
    return invalid('a port from 1 to 65535', 'another one');
  rememberSecret(service['password'], [user]);
  return {
    side,
    host,
    port: Number(port),
    database,
    user,
    password: decoded.password || service['password'] || undefined,
    tls: tlsOptions(host, given, invalid),
  };
}

function serviceOf(
  name: string,
  environment: Environment,
  invalid: Refuse,
): Readonly<Record<string, string>> {
  const read = readService(name, environment);
  return 'values' in read ? read.values : invalid(read.expected, read.found);
}

/**
 * The password of a session: the URL's or the service's, PGPASSWORD, or what the password file says at this moment.
 * @returns empty text when there is none: the driver must not look elsewhere.
 * @throws OrchestrateError CONFIG_INVALID when the password file cannot be used.
 */
export function passwordFor(endpoint: Endpoint, environment: Environment = process.env): string {
  const password = endpoint.password || environment['PGPASSWORD'] || passwordOf(endpoint, environment) || '';
  rememberSecret(password, [endpoint.user]);
  return password;
}

/** @returns whether a host never leaves this machine. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function tlsOptions(
  host: string,
  given: (name: string) => string | undefined,
  invalid: Refuse,
): ConnectionOptions | false {
  const mode = given('sslmode') ?? (isLoopback(host) ? 'disable' : 'verify-full');
  if (!SSL_MODES.includes(mode)) return invalid(`sslmode among ${SSL_MODES.join(', ')}`, mode.slice(0, 40));
  // Whoever names certificates expects them to be used: nothing is dropped in silence.
  for (const name of mode === 'disable' ? ['sslrootcert', 'sslcert', 'sslkey'] : [])
    if (given(name) !== undefined) return invalid('sslmode=verify-full', `${name} without TLS`);
  if (mode === 'disable') return false;
  if (mode === 'no-verify' && given('sslrootcert') !== undefined)
    return invalid('sslmode=verify-full, which checks it', 'sslrootcert with sslmode=no-verify');
  if ((given('sslcert') === undefined) !== (given('sslkey') === undefined))
    return invalid('sslcert and sslkey', 'one of them');
  const file = (name: string): { [k: string]: Buffer } => {
    const path = given(`ssl${name}`);
    if (path === undefined) return {};
    try {
      return { [name === 'rootcert' ? 'ca' : name]: readFileSync(path) };
    } catch {
      return invalid(`a readable PEM file as ssl${name}`, 'a file that cannot be read');
    }
  };
  const options: ConnectionOptions = {
    rejectUnauthorized: mode === 'verify-full',
    // An address has no place in the handshake (RFC 6066, section 3); the driver has it checked all the same.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...file('rootcert'),
    ...file('cert'),
    ...file('key'),
  };
  try {
    // The library takes an authority that is none in silence, and then trusts nobody.
    if (options.ca !== undefined) new X509Certificate(options.ca as Buffer);
    createSecureContext(options);
  } catch {
    return invalid('certificates and a key in PEM form that belong together', 'files that do not');
  }
  return options;
}

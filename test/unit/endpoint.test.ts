import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { connectionFailure, refusal } from '../../orchestrator/errors/connection.ts';
import { OrchestrateError } from '../../orchestrator/errors/failure.ts';
import { parseEndpoint, passwordFor } from '../../orchestrator/pg/endpoint.ts';
import { judgeFailure } from '../../orchestrator/stream/stream-failure.ts';

const scratch = mkdtempSync(join(tmpdir(), 'endpoint-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function file(name: string, text: string, mode = 0o600): string {
  const path = join(scratch, name);
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  return path;
}

const SECRET = 'hush-Zq7!vault';

/** What a URL is refused with, and whether that gives the secret away. */
function refused(url: string, environment: Record<string, string> = {}): string {
  try {
    passwordFor(parseEndpoint('blue', url, environment), environment);
  } catch (error) {
    if (!(error instanceof OrchestrateError)) throw error;
    const leaks = JSON.stringify(error.toDocument()).includes(SECRET);
    return leaks ? 'the secret is told' : `${error.code}: ${error.detail.expected}; ${error.detail.found}`;
  }
  return 'not refused';
}

describe('TLS by default', () => {
  it.each([
    ['localhost', false],
    ['127.0.0.1', false],
    ['127.9.9.9', false],
    ['[::1]', false],
    ['db.example', true],
    ['10.0.0.1', true],
    ['127.evil.example', true],
    ['localhost.evil.example', true],
  ])('%s: verified %s', (host, verified) => {
    const { tls } = parseEndpoint('blue', `postgres://u@${host}/d`, {});
    expect(tls === false ? false : tls.rejectUnauthorized).toBe(verified);
  });

  it('names the host in the handshake, never an address', () => {
    expect(parseEndpoint('blue', 'postgres://u@db.example/d', {}).tls).toMatchObject({
      servername: 'db.example',
    });
    expect(parseEndpoint('blue', 'postgres://u@10.0.0.1/d', {}).tls).not.toHaveProperty('servername');
  });

  it.each([
    ['sslmode=require', 'sslmode among'],
    ['sslmode=verify-ca', 'sslmode among'],
    ['sslmode=disable&sslrootcert=/x', 'without TLS'],
    ['sslmode=no-verify&sslrootcert=/x', 'which checks it'],
    ['sslcert=/x', 'sslcert and sslkey'],
    ['sslrootcert=/no/such', 'cannot be read'],
    ['sslmode=disable&sslmode=verify-full', 'more than once'],
    [`password=${SECRET}`, 'parameter password'],
  ])('%s is refused, not dropped', (parameters, part) => {
    expect(refused(`postgres://u:${SECRET}@h/d?${parameters}`)).toContain(part);
  });

  it('refuses what is no certificate', () => {
    const path = file('no.pem', '-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n');
    expect(refused(`postgres://u@h/d?sslrootcert=${path}`)).toContain('PEM');
  });
});

describe('the connection service file', () => {
  const services = file(
    'services.conf',
    `# ours\n[blue]\nhost=db.example\nport = 6543\ndbname=app\nuser=sync\npassword=${SECRET}\n[local]\nhost=localhost\ndbname=x\nuser=y\n[odd]\noptions=-c x=y\n[bad]\nhost=h\nport=0\nuser=u\ndbname=d\n`,
  );
  const environment = { PGSERVICEFILE: services };

  it('gives what the URL does not say', () => {
    const endpoint = parseEndpoint('blue', 'postgres://?service=blue', environment);
    expect(endpoint).toMatchObject({ host: 'db.example', port: 6543, database: 'app', user: 'sync' });
    expect(endpoint.tls).toMatchObject({ rejectUnauthorized: true });
    expect(passwordFor(endpoint, environment) === SECRET).toBe(true);
    const other = parseEndpoint(
      'blue',
      'postgres://me@127.0.0.1:1/d?service=blue&sslmode=disable',
      environment,
    );
    expect(other).toMatchObject({ host: '127.0.0.1', port: 1, database: 'd', user: 'me', tls: false });
  });

  it.each([
    ['none', 'a section [none]'],
    ['odd', 'key options'],
    ['bad', 'a port from 1 to 65535'],
  ])('%s is refused', (name, part) => {
    expect(refused(`postgres://?service=${name}`, environment)).toContain(part);
  });

  it('a file that is not there is refused', () => {
    expect(refused('postgres://?service=blue', { PGSERVICEFILE: '/no/such' })).toContain(
      'no file that can be read',
    );
  });
});

describe('the password file', () => {
  const endpoint = parseEndpoint('blue', 'postgres://u@127.0.0.1:5432/d', {});
  const lines = ['# ours', 'h:1:d:u:another', '127.0.0.1:*:d:u:a\\:b\\\\c:d', '*:*:*:*:last'].join('\n');

  it('gives the first line that fits, escapes undone', () => {
    const PGPASSFILE = file('pgpass', lines);
    expect(passwordFor(endpoint, { PGPASSFILE })).toBe('a:b\\c:d');
    expect(passwordFor({ ...endpoint, user: 'v' }, { PGPASSFILE })).toBe('last');
    expect(passwordFor({ ...endpoint, password: 'url' }, { PGPASSFILE })).toBe('url');
    expect(passwordFor(endpoint, { PGPASSFILE, PGPASSWORD: 'from-env' })).toBe('from-env');
  });

  it('is read anew every time', () => {
    const PGPASSFILE = file('rotating', '*:*:*:*:first');
    expect(passwordFor(endpoint, { PGPASSFILE })).toBe('first');
    file('rotating', '*:*:*:*:second');
    expect(passwordFor(endpoint, { PGPASSFILE })).toBe('second');
  });

  it('is refused when others may read it, or when it was named and is not there', () => {
    expect(refused('postgres://u@h/d', { PGPASSFILE: file('open', lines, 0o644) })).toContain('mode 644');
    expect(refused('postgres://u@h/d', { PGPASSFILE: '/no/such' })).toContain('ENOENT');
  });
});

describe('why a connection was not made', () => {
  it.each([
    [Object.assign(new Error('x'), { code: 'CERT_HAS_EXPIRED' }), 'TLS_REFUSED'],
    [Object.assign(new Error('x'), { code: 'SELF_SIGNED_CERT_IN_CHAIN' }), 'TLS_REFUSED'],
    [Object.assign(new Error('x'), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' }), 'TLS_REFUSED'],
    [Object.assign(new Error('x'), { code: 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA' }), 'TLS_REFUSED'],
    [new Error('The server does not support SSL connections'), 'TLS_REFUSED'],
    [Object.assign(new Error('x'), { code: '28P01' }), 'AUTHENTICATION'],
    [
      new Error('SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a non-empty string'),
      'AUTHENTICATION',
    ],
    [Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 'CANNOT_CONNECT'],
  ])('%s', (cause, code) => {
    const error = connectionFailure('blue', 'h:1/d', cause);
    expect(error.code).toBe(code);
    expect(refusal('blue', 'h:1/d', cause)?.code).toBe(code === 'CANNOT_CONNECT' ? undefined : code);
    // A stream that was up before waits for the other half of a rotation.
    expect(judgeFailure(error, { lsn: 0n, singly: false }).verdict).toBe('retry');
  });
});

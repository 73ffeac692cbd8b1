/**
 * TLS between the program and real servers: what the server shows × the kind of connection. Nothing falls back, and
 * what is refused says what was expected, found and how to mend it.
 */
import { chmodSync, chownSync, copyFileSync, statSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadSettings } from '../../orchestrator/config/load.ts';
import { OrchestrateError } from '../../orchestrator/errors/failure.ts';
import { connect, createPool } from '../../orchestrator/pg/connect.ts';
import { type Endpoint, parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { endpointOf } from '../../orchestrator/pg/endpoints.ts';
import { type EmbeddedServer, startServer } from '../../orchestrator/rehearsal/embedded/server.ts';
import { Tail } from '../../orchestrator/stream/tail.ts';
import { type Authority, type Certificate, certificates, openssl } from '../support/certificates.ts';
import { orchestrate } from '../support/in-process.ts';
import { noteRealServers, TEST_SETTINGS, testMajors } from '../support/servers.ts';
import { withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const HOST = 'localhost';
/** An address of this machine that is not loopback. */
const OUTSIDE = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find((a) => a.family === 'IPv4' && !a.internal)?.address;

describe.skipIf(!openssl.found)('TLS', () => {
  const pem = openssl.found ? certificates() : undefined;
  let trusted: Authority;
  let stranger: Authority;
  let right: Certificate;
  const servers: EmbeddedServer[] = [];

  beforeAll(async () => {
    await noteRealServers();
    if (pem === undefined) return;
    trusted = pem.authority('trusted');
    stranger = pem.authority('stranger');
    right = trusted.issue('right', [`DNS:${HOST}`, 'IP:127.0.0.1', ...(OUTSIDE ? [`IP:${OUTSIDE}`] : [])]);
    const { blue, green } = testMajors();
    const start = (major: typeof blue) =>
      startServer({ major, fsync: false, settings: { ...TEST_SETTINGS, listen_addresses: '*' } });
    servers.push(...(await Promise.all([start(blue), start(green)])));
    for (const server of servers) await allow(server);
  });

  afterAll(async () => {
    await Promise.all(servers.map((server) => server.remove()));
    pem?.remove();
  });

  /** Who may come: over TLS from anywhere, one login by its certificate alone. */
  async function allow(server: EmbeddedServer): Promise<void> {
    writeFileSync(
      join(server.dataDir, 'pg_hba.conf'),
      [
        'host all postgres 127.0.0.1/32 scram-sha-256',
        'hostssl all by_certificate all cert',
        'hostssl all tls_only all scram-sha-256',
        'host all anyway all scram-sha-256',
        'host all anyway ::1/128 scram-sha-256',
      ].join('\n'),
    );
    await withClient(server.superuserUrl, async (client) => {
      await client.query(`CREATE ROLE by_certificate LOGIN REPLICATION`);
      await client.query(`CREATE ROLE tls_only LOGIN REPLICATION PASSWORD 'tls-only-secret'`);
      await client.query(`CREATE ROLE anyway LOGIN REPLICATION PASSWORD 'anyway-secret'`);
    });
  }

  /** What the server shows from the next connection on; null switches TLS off. */
  async function show(server: EmbeddedServer, certificate: Certificate | null): Promise<void> {
    const place = (from: string, name: string): string => {
      const path = join(server.dataDir, name);
      copyFileSync(from, path);
      chmodSync(path, 0o600);
      const { uid, gid } = statSync(server.dataDir);
      chownSync(path, uid, gid);
      return pg.escapeLiteral(path);
    };
    await withClient(server.superuserUrl, async (client) => {
      if (certificate !== null) {
        await client.query(`ALTER SYSTEM SET ssl_cert_file = ${place(certificate.cert, 'shown.crt')}`);
        await client.query(`ALTER SYSTEM SET ssl_key_file = ${place(certificate.key, 'shown.key')}`);
        await client.query(`ALTER SYSTEM SET ssl_ca_file = ${place(trusted.cert, 'clients.crt')}`);
      }
      await client.query(`ALTER SYSTEM SET ssl = ${certificate === null ? 'off' : 'on'}`);
      const { rows } = await client.query<{ at: string }>('SELECT pg_conf_load_time()::text AS at');
      await client.query('SELECT pg_reload_conf()');
      await until('the server to read its settings', () =>
        withClient(server.superuserUrl, async (other) => {
          const now = await other.query<{ at: string }>('SELECT pg_conf_load_time()::text AS at');
          return now.rows[0]?.at !== rows[0]?.at;
        }),
      );
    });
  }

  const urlOf = (server: EmbeddedServer, parameters: string, host = HOST, login = 'anyway:anyway-secret') =>
    `postgres://${login}@${host}:${server.port}/postgres${parameters}`;
  const verified = () => `?sslmode=verify-full&sslrootcert=${encodeURIComponent(trusted.cert)}`;

  /** The four ways in which this program connects. Each says whether the server saw TLS. */
  const WAYS: Readonly<Record<string, (endpoint: Endpoint) => Promise<boolean>>> = {
    query: async (endpoint) => {
      const client = await connect(endpoint, { purpose: 'test' });
      try {
        return await encrypted(client);
      } finally {
        await client.end();
      }
    },
    pool: async (endpoint) => {
      const pool = createPool(endpoint, { purpose: 'test', max: 1 });
      try {
        const client = await pool.connect();
        return await encrypted(client).finally(() => client.release());
      } finally {
        await pool.end();
      }
    },
    replication: async (endpoint) => {
      const client = await connect(endpoint, { purpose: 'test', replication: true });
      try {
        return await encrypted(client);
      } finally {
        await client.end();
      }
    },
    stream: async (endpoint) => {
      const tail = new Tail({
        endpoint,
        slot: 'no_such_slot',
        publication: 'none',
        start: 0n,
        senderTimeoutMs: 0,
        maxBytes: 1024,
        wake: () => {},
      });
      try {
        await tail.open();
      } catch (error) {
        if (error instanceof OrchestrateError) throw error;
        // Logged in; that there is no such slot is told over what was agreed on.
        expect((error as { code?: string }).code).toBe('42704');
      } finally {
        await tail.close();
      }
      return endpoint.tls !== false;
    },
  };
  async function encrypted(client: pg.ClientBase): Promise<boolean> {
    const { rows } = await client.query<{ ssl: boolean }>(
      'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
    );
    return rows[0]?.ssl === true;
  }

  async function outcome(way: string, url: string): Promise<string> {
    try {
      return (await WAYS[way]?.(parseEndpoint('blue', url))) ? 'TLS' : 'plain';
    } catch (error) {
      if (!(error instanceof OrchestrateError)) throw error;
      const { code, message, expected, found, fix } = error.toDocument();
      if ([message, expected, found, fix].some((text) => text === null || text === ''))
        return `${code}: says too little`;
      if (`${message}${expected}${found}${fix}`.includes('secret')) return `${code}: tells a secret`;
      return `${code}: ${found}`;
    }
  }

  describe.each([0, 1])('server %i', (nth) => {
    const server = (): EmbeddedServer => servers[nth] as EmbeddedServer;
    const everyWay = async (url: string): Promise<string[]> => {
      const seen: string[] = [];
      for (const way of Object.keys(WAYS)) seen.push(await outcome(way, url));
      return seen;
    };
    /** The same by an address that is not loopback, where the machine has one. */
    const beyond = async (parameters: string): Promise<string[]> =>
      OUTSIDE ? everyWay(urlOf(server(), parameters, OUTSIDE)) : [];
    const all = (text: string) => Object.keys(WAYS).map(() => text);

    it('no TLS: refused where it was asked for, and by default beyond loopback', async () => {
      await show(server(), null);
      const refused = all('TLS_REFUSED: a server that answers without it; nothing was sent');
      expect(await everyWay(urlOf(server(), verified()))).toEqual(refused);
      expect(await everyWay(urlOf(server(), '?sslmode=no-verify'))).toEqual(refused);
      expect(await beyond('')).toEqual(OUTSIDE ? refused : []);
      // What does not leave the machine, and what was asked for in as many words, is not encrypted.
      expect(await everyWay(urlOf(server(), ''))).toEqual(all('plain'));
      expect(await beyond('?sslmode=disable')).toEqual(OUTSIDE ? all('plain') : []);
    });

    it('a certificate of another authority', async () => {
      await show(server(), stranger.issue('stranger', [`DNS:${HOST}`]));
      for (const seen of await everyWay(urlOf(server(), verified())))
        expect(seen).toMatch(/^TLS_REFUSED: one of another authority \(/);
      // Without a file the authorities that Node.js knows hold: ours is not among them.
      await show(server(), right);
      for (const seen of await everyWay(urlOf(server(), '?sslmode=verify-full')))
        expect(seen).toMatch(/^TLS_REFUSED: one of another authority \(/);
      for (const seen of await beyond('')) expect(seen).toMatch(/^TLS_REFUSED: one of another authority \(/);
    });

    it('a certificate for another host', async () => {
      await show(server(), trusted.issue('other', ['DNS:elsewhere.example', 'IP:192.0.2.1']));
      const refused = all('TLS_REFUSED: a certificate for another host (ERR_TLS_CERT_ALTNAME_INVALID)');
      expect(await everyWay(urlOf(server(), verified()))).toEqual(refused);
      expect(await everyWay(urlOf(server(), verified(), '127.0.0.1'))).toEqual(refused);
    });

    it('a certificate whose time is over', async () => {
      await show(server(), trusted.issue('expired', [`DNS:${HOST}`], -1));
      expect(await everyWay(urlOf(server(), verified()))).toEqual(
        all('TLS_REFUSED: one whose time is over or has not come (CERT_HAS_EXPIRED)'),
      );
    });

    it('the right one: by name and by address, and only as encrypted as was asked for', async () => {
      await show(server(), right);
      expect(await everyWay(urlOf(server(), verified()))).toEqual(all('TLS'));
      expect(await everyWay(urlOf(server(), verified(), '127.0.0.1'))).toEqual(all('TLS'));
      expect(await everyWay(urlOf(server(), '?sslmode=no-verify'))).toEqual(all('TLS'));
      const root = `?sslrootcert=${encodeURIComponent(trusted.cert)}`;
      expect(await beyond(root)).toEqual(OUTSIDE ? all('TLS') : []);
      // A server that insists refuses the login; nothing is tried without being asked.
      const login = 'tls_only:tls-only-secret';
      expect(await everyWay(urlOf(server(), '?sslmode=disable', HOST, login))).toEqual(
        all('AUTHENTICATION: 28000'),
      );
    });

    it('a login by certificate: ours, none, a stranger’s; and a rotated one at the next connect', async () => {
      await show(server(), right);
      const client = trusted.issue('by_certificate');
      const wrong = stranger.issue('by_certificate');
      const withClientCertificate = (c: Certificate) =>
        `${verified()}&sslcert=${encodeURIComponent(c.cert)}&sslkey=${encodeURIComponent(c.key)}`;
      const login = 'by_certificate';
      expect(await everyWay(urlOf(server(), withClientCertificate(client), HOST, login))).toEqual(all('TLS'));
      expect(await everyWay(urlOf(server(), verified(), HOST, login))).toEqual(all('AUTHENTICATION: 28000'));
      for (const way of ['query', 'pool', 'replication'])
        expect(await outcome(way, urlOf(server(), withClientCertificate(wrong), HOST, login))).toMatch(
          /^(TLS_REFUSED|CANNOT_CONNECT|AUTHENTICATION): /,
        );

      const url = urlOf(server(), withClientCertificate(wrong), HOST, login);
      const settings = loadSettings({ flags: { 'blue-url': url }, environment: {} });
      const endpoint = endpointOf(settings, 'blue');
      const pool = createPool(endpoint, { purpose: 'test', max: 1 });
      try {
        await expect(WAYS['query']?.(endpoint)).rejects.toThrow(OrchestrateError);
        await expect(pool.connect()).rejects.toThrow(OrchestrateError);
        copyFileSync(client.cert, wrong.cert);
        copyFileSync(client.key, wrong.key);
        for (const way of Object.values(WAYS)) expect(await way(endpoint)).toBe(true);
        const session = await pool.connect();
        expect(await encrypted(session)).toBe(true);
        session.release();
      } finally {
        await pool.end();
      }
    });
  });

  it('the program says so, with the exit code of a connection', async () => {
    const [server] = servers as [EmbeddedServer];
    await show(server, stranger.issue('stranger', [`DNS:${HOST}`]));
    const url = urlOf(server, verified());
    const ended = await orchestrate(['preflight', '--json'], {
      ORCHESTRATE_BLUE_URL: url,
      ORCHESTRATE_GREEN_URL: url,
    });
    expect(ended.exit).toBe(4);
    expect(ended.json<{ error: { code: string } }>().error.code).toBe('TLS_REFUSED');
    expect(ended.stderr).toContain('sslrootcert');
  });
});

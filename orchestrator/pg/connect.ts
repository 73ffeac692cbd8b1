import pg from 'pg';
import { connectionFailure } from '../errors/connection.ts';
import { type Endpoint, label, passwordFor } from './endpoint.ts';

/**
 * The settings every session of ours pins, whatever the role or the database says (FIELD-NOTES A and K4): text that
 * one server prints is what the other reads, nothing times out behind our back, and a commit is durable (I3).
 */
const PINNED: Readonly<Record<string, string>> = {
  datestyle: 'ISO,MDY',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  extra_float_digits: '3',
  bytea_output: 'hex',
  client_encoding: 'UTF8',
  standard_conforming_strings: 'on',
  search_path: 'pg_catalog,pg_temp',
  synchronous_commit: 'on',
  default_transaction_read_only: 'off',
  default_transaction_isolation: 'read\\ committed',
  default_transaction_deferrable: 'off',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  row_security: 'off',
  xmloption: 'content',
  lc_monetary: 'C',
  client_min_messages: 'warning',
};

export interface ConnectOptions {
  /** Shown in `pg_stat_activity` as `orchestrate/<purpose>`. */
  readonly purpose: string;
  /** A walsender connection: only the simple protocol, only replication commands and plain SQL. */
  readonly replication?: boolean;
  /** Overrides of the pinned settings, e.g. `{ lock_timeout: '2s' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Notices a dead peer within a few seconds; for sessions that hold locks on the serving side. */
  readonly shortKeepalive?: boolean;
}

/**
 * Password and certificates as they are now. Where a run leads never changes under way, and a file that is just being
 * replaced does not end it: then what was known before is tried once more.
 */
function renewed(endpoint: Endpoint): { password: string; tls: Endpoint['tls'] } {
  let now: Pick<Endpoint, 'password' | 'tls'> = endpoint;
  try {
    now = endpoint.renewed?.() ?? endpoint;
  } catch {
    // The server's answer to the old secret says more than a file that is gone for a moment.
  }
  return { password: passwordFor({ ...endpoint, password: now.password }), tls: now.tls };
}

/** @returns the driver's configuration for one session of ours; it holds the password. */
export function clientConfig(endpoint: Endpoint, options: ConnectOptions): pg.ClientConfig {
  const { password, tls } = renewed(endpoint);
  const settings = { ...PINNED, ...options.settings };
  // The server's own view of a dead client: without it a stalled session holds its locks for two hours.
  if (options.shortKeepalive)
    Object.assign(settings, {
      tcp_keepalives_idle: '2',
      tcp_keepalives_interval: '1',
      tcp_keepalives_count: '3',
      tcp_user_timeout: '5000',
    });
  return {
    host: endpoint.host,
    port: endpoint.port,
    database: endpoint.database,
    user: endpoint.user,
    password,
    ssl: tls,
    application_name: `orchestrate/${options.purpose}`,
    options: Object.entries(settings)
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' '),
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: options.shortKeepalive ? 2_000 : 10_000,
    ...(options.replication ? { replication: 'database' } : {}),
  } as pg.ClientConfig;
}

/**
 * Opens one session with pinned settings. The caller ends it.
 * A lost session shows as the rejection of the next query; the `error` event is only kept from ending the process.
 * @throws OrchestrateError CANNOT_CONNECT or AUTHENTICATION.
 */
export async function connect(endpoint: Endpoint, options: ConnectOptions): Promise<pg.Client> {
  const client = new pg.Client(clientConfig(endpoint, options));
  client.on('error', () => {});
  try {
    await client.connect();
  } catch (error) {
    throw connectionFailure(endpoint.side, label(endpoint), error);
  }
  return client;
}

type Connected = ((error: Error) => void) | ((error: null, client: pg.Client) => void);

/** A pool of such sessions. Each is opened with the secrets of its moment. */
export function createPool(endpoint: Endpoint, options: ConnectOptions & { max: number }): pg.Pool {
  class Session extends pg.Client {
    constructor() {
      super(clientConfig(endpoint, options));
    }

    override connect(): Promise<pg.Client>;
    override connect(callback: Connected): void;
    override connect(callback?: Connected): Promise<pg.Client> | undefined {
      if (callback === undefined) return super.connect();
      const told = callback as (error: Error | null, client?: pg.Client) => void;
      super.connect(((error: Error | null) => {
        if (error) told(connectionFailure(endpoint.side, label(endpoint), error));
        else told(null, this);
      }) as Connected);
      return undefined;
    }
  }
  const pool = new pg.Pool({
    Client: Session as unknown as new () => pg.ClientBase,
    connectionTimeoutMillis: 10_000,
    max: options.max,
    idleTimeoutMillis: 30_000,
  } as pg.PoolConfig);
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** Ends a session from this side at once, whatever it waits for. */
export function cut(client: pg.Client): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}

/** A server that is there answers to the end of a session at once. */
const END_MS = 1_000;

/** Ends sessions. One that does not answer, or not what it was asked before, is cut: nobody waits for it. */
export async function endOrCut(clients: readonly pg.Client[]): Promise<void> {
  await Promise.all(
    clients.map(async (client) => {
      const late = setTimeout(() => cut(client), END_MS);
      await client.end().catch(() => {});
      clearTimeout(late);
    }),
  );
}

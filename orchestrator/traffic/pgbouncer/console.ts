import pg from 'pg';
import { ident } from '../../../src/mapping/identifier.ts';
import { label, parseEndpoint, passwordFor } from '../../pg/endpoint.ts';

/** What an instance says about one of its databases. */
export interface Shown {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly poolMode: string;
  readonly paused: boolean;
}

const CONNECT_MS = 3_000;

/**
 * The admin console of one pgbouncer. It speaks the simple protocol only, and knows no parameters.
 * https://www.pgbouncer.org/usage.html#admin-console
 */
export class Console {
  /** `host:port/pgbouncer`, without credentials. */
  readonly label: string;
  private readonly client: pg.Client;

  private constructor(client: pg.Client, name: string) {
    this.client = client;
    this.label = name;
  }

  /** @param url of the instance's console, such as postgres://admin@host:6432/pgbouncer; never printed. */
  static async open(url: string): Promise<Console> {
    const at = parseEndpoint('blue', url);
    const client = new pg.Client({
      host: at.host,
      port: at.port,
      database: at.database,
      user: at.user,
      password: passwordFor(at),
      ssl: at.tls,
      connectionTimeoutMillis: CONNECT_MS,
    });
    client.on('error', () => {});
    await client.connect();
    return new Console(client, label(at));
  }

  /** @returns null when the instance has no such database. */
  async show(database: string): Promise<Shown | null> {
    const { rows } = await this.client.query<Record<string, string | null>>('SHOW DATABASES');
    const row = rows.find((r) => r['name'] === database);
    if (!row) return null;
    const config = await this.client.query<Record<string, string | null>>('SHOW CONFIG');
    const mode = config.rows.find((r) => r['key'] === 'pool_mode')?.['value'];
    return {
      host: row['host'] ?? '',
      port: Number(row['port']),
      database: row['database'] ?? '',
      poolMode: row['pool_mode'] ?? mode ?? '',
      paused: Number(row['paused']) === 1,
    };
  }

  /** Answered once every server connection has been given back: after each transaction, or in session mode after each client. */
  async pause(database: string): Promise<void> {
    if (!(await this.show(database))?.paused) await this.client.query(`PAUSE ${ident(database)}`);
  }

  async resume(database: string): Promise<void> {
    if ((await this.show(database))?.paused) await this.client.query(`RESUME ${ident(database)}`);
  }

  async reload(): Promise<void> {
    await this.client.query('RELOAD');
  }

  /** Ends the connection, also while an answer is waited for. */
  async close(): Promise<void> {
    await this.client.end().catch(() => {});
  }

  /** Ends it without waiting: a PAUSE that is not answered would hold an ordinary end up. */
  cut(): void {
    (this.client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }
}

/** Runs `work` on every instance at once, each on a session of its own. @throws what the first failing one throws, after all. */
export async function onEach<T>(
  urls: readonly string[],
  work: (console: Console, n: number) => Promise<T>,
): Promise<T[]> {
  const settled = await Promise.allSettled(
    urls.map(async (url, n) => {
      const console = await Console.open(url);
      try {
        return await work(console, n);
      } finally {
        await console.close();
      }
    }),
  );
  return settled.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}

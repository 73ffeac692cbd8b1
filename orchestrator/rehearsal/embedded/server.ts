import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { canEnter, type ServerAccount, serverAccount } from './account.ts';
import { findBinaries, type Major } from './binaries.ts';
import { freePort } from './port.ts';
import { type Cluster, initialiseCluster, lastLines, Postmaster, StartFailure } from './postmaster.ts';
import { Watchdog } from './watchdog.ts';

export type { Major } from './binaries.ts';

const START_ATTEMPTS = 10;
const RESTART_PATIENCE_MS = 30_000;

export interface ServerOptions {
  readonly major: Major;
  /** Where the cluster is made: an absent or empty directory. Default: a fresh one that ends with this process. */
  readonly directory?: string;
  /** Default true. Off is for tests only: a crash of the operating system then loses the cluster. */
  readonly fsync?: boolean;
  /** Settings of postgresql.conf that are added to or replace our own. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Default: a free one. */
  readonly port?: number;
}

/** A real PostgreSQL server that this process has made. It ends when this process ends, however that happens. */
export interface EmbeddedServer {
  readonly major: Major;
  /** For example `18.4`. */
  readonly version: string;
  readonly port: number;
  readonly dataDir: string;
  /** `postgres://postgres:…@127.0.0.1:port/postgres`, with a random password. */
  readonly superuserUrl: string;
  /** The postmaster's process id; undefined while the server is stopped. */
  readonly pid: number | undefined;
  /** Default `fast`; `immediate` leaves a cluster that recovers at its next start. Does nothing when stopped. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>;
  /** Starts the stopped server again on the same port. Does nothing when it runs. */
  start(): Promise<void>;
  /** Stops without a checkpoint and starts: crash recovery, all sessions gone. */
  restartImmediate(): Promise<void>;
  /** A power cut as far as the server can tell. `start` brings it back. */
  kill9(): Promise<void>;
  /** Stops the server and removes its directory. */
  remove(): Promise<void>;
  /** The last lines of the server's log. */
  logTail(lines?: number): Promise<string>;
}

/**
 * Makes a cluster and starts a server on it: initdb with the C locale and UTF8, passwords by SCRAM, TCP on
 * 127.0.0.1 only, `wal_level = logical`, time zone UTC.
 *
 * @throws Error when the binaries are missing or do not run, or with the end of the server's log.
 */
export async function startServer(options: ServerOptions): Promise<EmbeddedServer> {
  const account = await serverAccount();
  const ownDirectory = options.directory === undefined;
  const directory =
    options.directory === undefined
      ? await freshDirectory(options.major, account)
      : await givenDirectory(options.directory, account);
  const watchdog = new Watchdog(directory, ownDirectory);
  try {
    const cluster: Cluster = {
      directory,
      dataDir: join(directory, 'data'),
      logFile: join(directory, 'server.log'),
      account,
      binaries: await findBinaries(options.major, account, directory),
      watchdog,
    };
    const password = randomBytes(18).toString('hex');
    await initialise(cluster, password);
    const server = new EmbeddedPostgres(cluster, options, password);
    await server.boot(options.port);
    return server;
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    watchdog.dismiss();
    throw error;
  }
}

class EmbeddedPostgres implements EmbeddedServer {
  readonly major: Major;
  readonly #cluster: Cluster;
  readonly #settings: Readonly<Record<string, string>>;
  readonly #password: string;
  #port = 0;
  #postmaster: Postmaster | undefined;
  /** The last run was killed; shared memory that only its successor removes is still there. */
  #killed = false;

  constructor(cluster: Cluster, options: ServerOptions, password: string) {
    this.major = options.major;
    this.#cluster = cluster;
    this.#password = password;
    this.#settings = {
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      timezone: 'UTC',
      log_timezone: 'UTC',
      wal_level: 'logical',
      max_wal_senders: '10',
      max_replication_slots: '10',
      max_connections: '100',
      ...(options.fsync === false ? { fsync: 'off' } : {}),
      ...options.settings,
    };
  }

  get version(): string {
    return this.#cluster.binaries.version;
  }

  get port(): number {
    return this.#port;
  }

  get dataDir(): string {
    return this.#cluster.dataDir;
  }

  get superuserUrl(): string {
    return `postgres://postgres:${this.#password}@127.0.0.1:${this.#port}/postgres`;
  }

  get pid(): number | undefined {
    return this.#postmaster?.pid;
  }

  /** The first start: a port that is taken meanwhile is given up for another one, unless the caller named it. */
  async boot(port: number | undefined): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.#port = port ?? (await freePort());
      try {
        this.#postmaster = await this.#spawn();
        return;
      } catch (error) {
        const another = port === undefined && attempt < START_ATTEMPTS;
        if (!(another && error instanceof StartFailure && error.portTaken)) throw error;
      }
    }
  }

  async start(): Promise<void> {
    if (this.pid !== undefined) return;
    // The URL has been handed out, so the port stays. Both obstacles end by themselves or not at all.
    const deadline = Date.now() + RESTART_PATIENCE_MS;
    for (;;) {
      try {
        this.#postmaster = await this.#spawn();
        this.#killed = false;
        return;
      } catch (error) {
        const passing = error instanceof StartFailure && (error.portTaken || error.predecessorAlive);
        if (!passing || Date.now() > deadline) throw error;
        await delay(100);
      }
    }
  }

  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.#postmaster?.stop(mode);
    this.#postmaster = undefined;
    this.#cluster.watchdog.idle();
  }

  async restartImmediate(): Promise<void> {
    await this.stop('immediate');
    await this.start();
  }

  async kill9(): Promise<void> {
    if (this.pid !== undefined) this.#killed = true;
    await this.#postmaster?.kill9();
    this.#postmaster = undefined;
    this.#cluster.watchdog.idle();
  }

  async remove(): Promise<void> {
    // A killed server leaves a megabyte in /dev/shm, of which containers have 64.
    if (this.#killed) await this.start().catch(() => undefined);
    await this.stop();
    await rm(this.#cluster.directory, { recursive: true, force: true, maxRetries: 5 });
    this.#cluster.watchdog.dismiss();
  }

  async logTail(lines = 50): Promise<string> {
    return lastLines(await readFile(this.#cluster.logFile, 'utf8').catch(() => ''), lines);
  }

  #spawn(): Promise<Postmaster> {
    return Postmaster.start(this.#cluster, { ...this.#settings, port: String(this.#port) });
  }
}

/** Runs initdb; the password passes through a file that only the server's account can read, never through argv. */
async function initialise(cluster: Cluster, password: string): Promise<void> {
  const passwordFile = join(cluster.directory, 'initial-password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' });
  try {
    await give(passwordFile, cluster.account);
    await initialiseCluster(cluster, passwordFile);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

async function freshDirectory(major: Major, account: ServerAccount): Promise<string> {
  // A private TMPDIR of root's would lock the server out of its own data directory.
  const parent = (await canEnter(tmpdir(), account)) ? tmpdir() : '/tmp';
  const directory = await mkdtemp(join(parent, `orchestrate-pg${major}-`));
  await give(directory, account);
  return directory;
}

async function givenDirectory(path: string, account: ServerAccount): Promise<string> {
  const directory = resolve(path);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if ((await readdir(directory)).length > 0)
    throw new Error(`${directory} is not empty: no cluster is made there.`);
  await chmod(directory, 0o700);
  await give(directory, account);
  if (!(await canEnter(directory, account))) {
    throw new Error(
      `The account "${account?.name}", which runs the server because you are root, cannot enter ${directory}. ` +
        'Choose a directory whose parents it may enter, or name none.',
    );
  }
  return directory;
}

async function give(path: string, account: ServerAccount): Promise<void> {
  if (account !== undefined) await chown(path, account.uid, account.gid);
}

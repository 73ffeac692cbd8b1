import { type ChildProcess, spawn } from 'node:child_process';
import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { asAccount, type ServerAccount, serverEnvironment } from './account.ts';
import type { Binaries } from './binaries.ts';
import type { Watchdog } from './watchdog.ts';

const POLL_MS = 20;
/** Includes crash recovery. */
const READY_WITHIN_MS = 120_000;
const FAST_SHUTDOWN_MS = 15_000;
const IMMEDIATE_SHUTDOWN_MS = 30_000;

/** What a cluster consists of on disk, and who runs it. */
export interface Cluster {
  readonly directory: string;
  readonly dataDir: string;
  readonly logFile: string;
  readonly account: ServerAccount;
  readonly binaries: Binaries;
  readonly watchdog: Watchdog;
}

/** Why a server did not start; `log` is what it wrote in this attempt. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure';
  readonly log: string;

  constructor(message: string, log: string) {
    super(`${message}\n${lastLines(log, 20)}`);
    this.log = log;
  }

  /** Somebody else listens on the port. */
  get portTaken(): boolean {
    return /Address already in use|could not create any TCP\/IP sockets/.test(this.log);
  }

  /** A crashed predecessor's last backend has not let go of the shared memory yet. */
  get predecessorAlive(): boolean {
    return /pre-existing shared memory block|lock file "postmaster.pid" already exists/.test(this.log);
  }
}

/** One run of the server process, from spawn to exit. */
export class Postmaster {
  readonly #child: ChildProcess;
  readonly #exit: Promise<void>;
  #exited = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exit = new Promise((resolve) => {
      const end = (): void => {
        this.#exited = true;
        resolve();
      };
      child.once('exit', end);
      child.once('error', end);
    });
  }

  get pid(): number | undefined {
    return this.#exited ? undefined : this.#child.pid;
  }

  /**
   * Spawns a server and waits until it accepts connections, as `pg_ctl -w` does: postmaster.pid carries our pid
   * in line 1 and `ready` in line 8.
   *
   * @throws StartFailure
   */
  static async start(cluster: Cluster, settings: Readonly<Record<string, string>>): Promise<Postmaster> {
    const logStart = await stat(cluster.logFile).then(
      (entry) => entry.size,
      () => 0,
    );
    const arguments_ = ['-D', cluster.dataDir];
    for (const [name, value] of Object.entries(settings)) arguments_.push('-c', `${name}=${value}`);

    const log = await open(cluster.logFile, 'a', 0o600);
    let postmaster: Postmaster;
    try {
      cluster.watchdog.starting();
      // Detached: the terminal's Ctrl-C must reach us only, else the server dies before its clients have finished.
      const child = spawn(cluster.binaries.postgres, arguments_, {
        ...asAccount(cluster.account),
        cwd: cluster.directory,
        detached: true,
        env: serverEnvironment(),
        stdio: ['ignore', log.fd, log.fd],
      });
      postmaster = new Postmaster(child);
      if (child.pid !== undefined) cluster.watchdog.running('pid', child.pid);
      child.unref();
    } finally {
      await log.close();
    }

    const deadline = Date.now() + READY_WITHIN_MS;
    while (!(await postmaster.#isReady(cluster.dataDir))) {
      if (postmaster.#exited || Date.now() > deadline) {
        const why = postmaster.#exited
          ? 'ended while it was starting'
          : `not ready after ${READY_WITHIN_MS} ms`;
        await postmaster.stop('immediate');
        cluster.watchdog.idle();
        const written = (await readFile(cluster.logFile)).subarray(logStart).toString('utf8');
        throw new StartFailure(
          `PostgreSQL ${cluster.binaries.version} in ${cluster.directory}: ${why}.`,
          written,
        );
      }
      await delay(POLL_MS);
    }
    return postmaster;
  }

  /**
   * `fast` disconnects clients, writes a checkpoint and ends (SIGINT, and SIGQUIT when that takes more than 15 s,
   * for example because a walsender's client confirms nothing); `immediate` ends without a checkpoint (SIGQUIT),
   * so that the next start recovers from the WAL. SIGTERM is never sent: it waits for clients to leave.
   */
  async stop(mode: 'fast' | 'immediate'): Promise<void> {
    if (mode === 'fast') {
      this.#signal('SIGINT');
      if (await this.#exitsWithin(FAST_SHUTDOWN_MS)) return;
    }
    this.#signal('SIGQUIT');
    if (await this.#exitsWithin(IMMEDIATE_SHUTDOWN_MS)) return;
    throw new Error(`PostgreSQL process ${this.#child.pid} did not end after SIGQUIT.`);
  }

  /** Ends the server as a power cut would: the postmaster and all its backends at once, no signal handler runs. */
  async kill9(): Promise<void> {
    const pid = this.pid;
    if (pid === undefined) return;
    // Backends would otherwise notice the postmaster's death only when they next wait, and write until then.
    const backends = await childrenOf(pid);
    this.#signal('SIGKILL');
    for (const backend of backends) {
      try {
        process.kill(backend, 'SIGKILL');
      } catch {
        // It was gone already.
      }
    }
    await this.#exitsWithin(IMMEDIATE_SHUTDOWN_MS);
  }

  async #isReady(dataDir: string): Promise<boolean> {
    try {
      const lines = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n');
      return Number(lines[0]) === this.#child.pid && lines[7]?.trim() === 'ready';
    } catch {
      return false;
    }
  }

  #signal(signal: NodeJS.Signals): void {
    if (!this.#exited) this.#child.kill(signal);
  }

  async #exitsWithin(timeoutMs: number): Promise<boolean> {
    // The child is unreferenced, so it takes a timer to keep this process waiting for it; and a timer that is
    // not aborted afterwards keeps it waiting for nothing.
    const timer = new AbortController();
    const timeout = delay(timeoutMs, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([this.#exit, timeout]);
    timer.abort();
    return this.#exited;
  }
}

/** Runs initdb with a superuser `postgres` of the given password. */
export async function initialiseCluster(cluster: Cluster, passwordFile: string): Promise<void> {
  const credentials = ['-U', 'postgres', '--pwfile', passwordFile, '-A', 'scram-sha-256'];
  // C: nothing depends on the host's locales, and both sides order text the same way.
  const locale = ['-E', 'UTF8', '--locale=C'];
  const child = spawn(
    cluster.binaries.initdb,
    ['-D', cluster.dataDir, ...credentials, ...locale, '--no-sync', '--no-instructions'],
    {
      ...asAccount(cluster.account),
      cwd: cluster.directory,
      detached: true,
      env: serverEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  if (child.pid !== undefined) cluster.watchdog.running('initdb', child.pid);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  cluster.watchdog.idle();
  if (code !== 0) throw new Error(`initdb ${cluster.binaries.version} failed:\n${lastLines(output, 20)}`);
}

/** The last lines of a text. */
export function lastLines(text: string, lines: number): string {
  return text.trimEnd().split('\n').slice(-lines).join('\n');
}

async function childrenOf(pid: number): Promise<number[]> {
  // Linux only; elsewhere the backends end on their own when they see the postmaster gone.
  const list = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return list
    .split(' ')
    .map(Number)
    .filter((child) => child > 0);
}

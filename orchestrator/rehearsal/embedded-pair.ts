import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { rememberUrl } from '../log/redact.ts';
import { SIDES, type Side } from '../pg/side.ts';
import { openSession } from './connection.ts';
import { type RoleDatabase, setUpDatabase } from './embedded/roles.ts';
import { type EmbeddedServer, type Major, startServer } from './embedded/server.ts';
import { Watchdog } from './embedded/watchdog.ts';

const DATABASE = 'app';

/** Where a rehearsal takes place: both databases with their roles, and a private directory. */
export interface Pair {
  readonly urls: Readonly<Record<Side, RoleDatabase['urls']>>;
  readonly versions: Readonly<Record<Side, string>>;
  /** Mode 0700; gone with this process, however that ends. */
  readonly directory: string;
  /** Files (0600) that hold the sync role's URLs, for the program's environment. */
  readonly urlFiles: Readonly<Record<Side, string>>;
  /** Whatever happens to this process, the program with this pid ends too. */
  guard(pid: number): void;
  /** The last lines of each server's log. */
  logs(): Promise<Readonly<Record<Side, string>>>;
  /** Stops the servers and removes everything. Can be called again. */
  close(): Promise<void>;
}

/**
 * Boots a real blue and a real green with the roles of a real installation: the application, the tables' owner and
 * the sync role are three different ones (DESIGN 4).
 * @throws Error when a server cannot be started; nothing is left then.
 */
export async function openEmbeddedPair(majors: Readonly<Record<Side, Major>>): Promise<Pair> {
  const directory = await mkdtemp(join(tmpdir(), 'orchestrate-rehearsal-'));
  const watchdog = new Watchdog(directory, true);
  const started: EmbeddedServer[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(started.splice(0).map((server) => server.remove()));
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    watchdog.dismiss();
  };
  try {
    await chmod(directory, 0o700);
    const booted = await Promise.allSettled(SIDES.map((side) => startServer({ major: majors[side] })));
    for (const boot of booted) if (boot.status === 'fulfilled') started.push(boot.value);
    for (const boot of booted) if (boot.status === 'rejected') throw boot.reason;
    const [blue, green] = started as [EmbeddedServer, EmbeddedServer];
    const urls = {
      blue: (await setUpDatabase(blue, { database: DATABASE })).urls,
      green: (await setUpDatabase(green, { database: DATABASE })).urls,
    };
    const urlFiles = { blue: join(directory, 'blue-url'), green: join(directory, 'green-url') };
    for (const side of SIDES) {
      for (const url of Object.values(urls[side])) rememberUrl(url);
      await writeFile(urlFiles[side], `${urls[side].sync}\n`, { mode: 0o600, flag: 'wx' });
    }
    return {
      urls,
      versions: { blue: blue.version, green: green.version },
      directory,
      urlFiles,
      guard: (pid) => watchdog.running('program', pid),
      logs: async () => ({ blue: await blue.logTail(200), green: await green.logTail(200) }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A session of the superuser, or where that is not ours of the sync role, for looking at what the program itself is not asked about. */
export async function openLook(url: string): Promise<pg.Client> {
  return openSession(url, 'orchestrate/rehearsal look');
}

import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ORG_TABLES } from '../../../migrations/056-create-org-tables.ts';
import type { Settings } from '../../config/settings.ts';
import { failure } from '../../errors/failure.ts';
import { urlOf } from '../../pg/endpoints.ts';
import { SIDES, type Side } from '../../pg/side.ts';
import { openSession, openTextSession } from '../connection.ts';
import { Watchdog } from '../embedded/watchdog.ts';
import type { Pair } from '../embedded-pair.ts';
import { type ApplicationLogin, applicationLogin } from './application-login.ts';
import { type Picture, pictureOf } from './picture.ts';

/** Two databases that were there before, and what they looked like. */
export interface StagingPair extends Pair {
  readonly before: Readonly<Record<Side, Picture>>;
  /** The highest id of `user_settings`; every row of the rehearsal's own has a higher one. */
  readonly highestId: number;
  /** Rows of `user_settings` that were there before. */
  readonly rows: number;
  /** Where the identity of `user_settings` stood; null: it had never been used, or has no sequence. */
  readonly identity: string | null;
}

/** Files that hold the application's own URLs; where one is absent, a login is made. */
export type AppUrlFiles = Readonly<Partial<Record<Side, string>>>;

const VERSION = `SELECT current_setting('server_version') AS version`;

const FOUND = `
  SELECT (SELECT string_agg(slot_name, ', ') FROM pg_replication_slots
          WHERE database = current_database() AND slot_name LIKE 'orchestrate%') AS slots,
         (SELECT nspname::text FROM pg_namespace WHERE nspname = 'orchestrator') AS control,
         (SELECT string_agg(name, ', ') FROM unnest($1::text[]) AS t(name)
          WHERE to_regclass('public.' || quote_ident(name)) IS NOT NULL) AS tables`;

const SOURCE = `
  SELECT coalesce(max(id), 0)::text AS highest, count(*)::text AS rows,
         (SELECT s.last_value::text FROM pg_sequences AS s
          WHERE format('%I.%I', s.schemaname, s.sequencename)::regclass
                  = pg_get_serial_sequence('public.user_settings', 'id')::regclass) AS identity
  FROM public.user_settings`;

/**
 * Makes two given databases ready for a rehearsal, which will write only rows of its own there and take everything away.
 * @throws OrchestrateError REHEARSAL_REFUSED where a migration, or a table it would make, is there already.
 */
export async function openStagingPair(settings: Settings, appUrlFiles: AppUrlFiles): Promise<StagingPair> {
  const sync = { blue: urlOf(settings, 'blue'), green: urlOf(settings, 'green') };
  const versions: Partial<Record<Side, string>> = {};
  for (const side of SIDES) versions[side] = await free(settings, side, sync[side]);
  const source = await sourceOf(sync.blue);
  const before = { blue: await pictureOf(sync.blue), green: await pictureOf(sync.green) };

  const directory = await mkdtemp(join(tmpdir(), 'orchestrate-rehearsal-'));
  const watchdog = new Watchdog(directory, true);
  const logins: Partial<Record<Side, ApplicationLogin>> = {};
  const close = async (): Promise<void> => {
    for (const side of SIDES) {
      await logins[side]?.drop();
      delete logins[side];
    }
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    watchdog.dismiss();
  };
  try {
    await chmod(directory, 0o700);
    const urlFiles = { blue: join(directory, 'blue-url'), green: join(directory, 'green-url') };
    const urls: Partial<Record<Side, Pair['urls'][Side]>> = {};
    for (const side of SIDES) {
      await writeFile(urlFiles[side], `${sync[side]}\n`, { mode: 0o600, flag: 'wx' });
      const login = await applicationLogin(side, sync[side], appUrlFiles[side]);
      logins[side] = login;
      // Nobody but the sync role may look here: sessions that say they are ours are no strangers to preflight.
      urls[side] = { superuser: sync[side], owner: sync[side], sync: sync[side], app: login.url };
    }
    return {
      urls: urls as Pair['urls'],
      versions: versions as Pair['versions'],
      directory,
      urlFiles,
      guard: (pid) => watchdog.running('program', pid),
      logs: async () => ({ blue: 'the log is on the server', green: 'the log is on the server' }),
      close,
      before,
      ...source,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @returns the server's version, once nothing of a migration was found. */
async function free(settings: Settings, side: Side, url: string): Promise<string> {
  const client = await openSession(url, 'orchestrate/rehearsal look');
  try {
    const tables = side === 'green' ? [...ORG_TABLES, 'orchestrate_migrations'] : ['orchestrate_migrations'];
    const { rows } = await client.query<{
      slots: string | null;
      control: string | null;
      tables: string | null;
    }>(FOUND, [tables]);
    const found = [
      ...(rows[0]?.control ? [`schema ${rows[0].control}`] : []),
      ...(rows[0]?.slots ? [`slots ${rows[0].slots}`] : []),
      ...(rows[0]?.tables ? [`tables ${rows[0].tables}`] : []),
    ];
    if (found.length > 0)
      throw failure('REHEARSAL_REFUSED', {
        message: `${side} has something that a rehearsal would have to take away`,
        expected: 'no migration under way, and no tables of the org model',
        found: `${side}: ${found.join('; ')}`,
        fix: `orchestrate status; orchestrate abort (migration ${settings.migration}), or other databases`,
      });
    return (await client.query<{ version: string }>(VERSION)).rows[0]?.version.split(' ')[0] ?? 'unknown';
  } finally {
    await client.end();
  }
}

async function sourceOf(url: string): Promise<{ highestId: number; rows: number; identity: string | null }> {
  const client = await openTextSession(url, 'look', 'public');
  try {
    const { rows } = await client.query<{ highest: string; rows: string; identity: string | null }>(SOURCE);
    const [row] = rows;
    return {
      highestId: Number(row?.highest ?? 0),
      rows: Number(row?.rows ?? 0),
      identity: row?.identity ?? null,
    };
  } finally {
    await client.end();
  }
}

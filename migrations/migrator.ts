import pg from 'pg';
import { type Options, Sequelize, type Transaction } from 'sequelize';
import { MigrationError, Umzug, type UmzugStorage } from 'umzug';
import { ident, qualified } from '../src/mapping/identifier.ts';
import { createOrgTablesMigration } from './056-create-org-tables.ts';
import { migrateUserSettingsMigration } from './057-migrate-user-settings.ts';
import { readInPlace } from './in-place/progress.ts';
import {
  contextOf,
  type Migration,
  type MigrationContext,
  MigrationRefused,
  type RunQuery,
  type TableSchemas,
} from './session.ts';

/** Every migration of the org model, in order. Names are written down: a file name ends in .ts here and in .js there. */
export const MIGRATIONS: readonly Migration[] = [createOrgTablesMigration, migrateUserSettingsMigration];

/** The revision before the first of ours; `--to 055` takes all of ours back. */
export const BASE_REVISION = '055';

/** The table of applied migrations, in the org model's schema; its records stay after finalize. */
export const MIGRATIONS_TABLE = 'orchestrate_migrations';

/** Where migrations run, and as whom. */
export interface MigrateTarget {
  /** The driver's configuration of one session: endpoint, password, TLS and pinned settings. */
  readonly config: pg.ClientConfig;
  readonly schemas: TableSchemas;
  /** The role that is to own what is created; we are a member of it. */
  readonly owner: string;
  readonly inPlace: boolean;
  /** How long 057 in place may wait for its lock on user_settings; without it, for ever. */
  readonly lockTimeoutMs?: number;
  /** First statements of the transaction, under the session's own role: a run proves its right to write (I10). */
  readonly guard?: (query: RunQuery) => Promise<void>;
}

export interface MigrationStatus {
  readonly name: string;
  /** ISO 8601 UTC as the server prints it; null while pending. */
  readonly appliedAt: string | null;
}

/** One key for every migration run of ours in a database: two `up` at once apply everything once. */
const LOCK_KEY = '5604158057105601';

/**
 * Applies pending migrations, up to and including `to` (number or full name). All of them commit together, so a
 * process that dies leaves nothing half done, and running again is harmless.
 * @returns the names that were applied now.
 * @throws MigrationRefused when a migration cannot be applied as things are.
 */
export async function migrateUp(target: MigrateTarget, to?: string): Promise<string[]> {
  const last =
    to === undefined ? MIGRATIONS.length - 1 : MIGRATIONS.findIndex((m) => m.name === revision(to));
  const wanted = MIGRATIONS.slice(0, last + 1).map((m) => m.name);
  return run(target, async (umzug) => {
    // By name: umzug finds no way `to` what is applied already.
    const pending = (await umzug.pending()).map((m) => m.name).filter((name) => wanted.includes(name));
    if (pending.length > 0) await umzug.up({ migrations: pending });
    return pending;
  });
}

/**
 * Takes applied migrations back until `to` is the newest that remains; `055` takes all back, and the table of
 * records with them.
 * @returns the names that were taken back.
 */
export async function migrateDown(target: MigrateTarget, to: string): Promise<string[]> {
  const all = to === BASE_REVISION || to.startsWith(`${BASE_REVISION}-`);
  const keep = all ? -1 : MIGRATIONS.findIndex((m) => m.name === revision(to));
  return run(target, async (umzug, m) => {
    const executed = await umzug.executed();
    const names = executed
      .map((e) => e.name)
      .filter((name) => MIGRATIONS.findIndex((k) => k.name === name) > keep);
    // A 057 that was interrupted is no record yet, but its rows are there.
    const begun = MIGRATIONS.findIndex((k) => k.name === migrateUserSettingsMigration.name);
    if (
      keep < begun &&
      !names.includes(migrateUserSettingsMigration.name) &&
      (await readInPlace(m.query, target.schemas)) !== null
    )
      await migrateUserSettingsMigration.down(m);
    if (names.length > 0) await umzug.down({ migrations: names.reverse() });
    if (all) await m.query(`DROP TABLE IF EXISTS ${m.org(MIGRATIONS_TABLE)}`);
    return names;
  });
}

const HAS_RECORDS = 'SELECT to_regclass($1) IS NOT NULL AS found';

/** Reads what is applied; changes nothing. `query` is any session on the database. */
export async function migrationStatus(query: RunQuery, schemas: TableSchemas): Promise<MigrationStatus[]> {
  const table = qualified(schemas.org, MIGRATIONS_TABLE);
  const [has] = await query<{ found: boolean }>(HAS_RECORDS, [table]);
  const rows = has?.found
    ? await query<{ name: string; applied_at: string }>(
        `SELECT name, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS applied_at FROM ${table}`,
        [],
      )
    : [];
  const at = new Map(rows.map((r) => [r.name, r.applied_at]));
  return MIGRATIONS.map((m) => ({ name: m.name, appliedAt: at.get(m.name) ?? null }));
}

/** @returns the full name of a revision given as number or name. @throws MigrationRefused for an unknown one. */
export function revision(text: string): string {
  const found = MIGRATIONS.find((m) => m.name === text || m.name.slice(0, 3) === text.padStart(3, '0'));
  if (found) return found.name;
  throw new MigrationRefused(`there is no revision ${text}`, {
    expected: [BASE_REVISION, ...MIGRATIONS.map((m) => m.name)].join(', '),
    found: text,
    fix: 'orchestrate migrate status',
  });
}

async function run<T>(
  target: MigrateTarget,
  work: (umzug: Umzug<MigrationContext>, context: MigrationContext) => Promise<T>,
): Promise<T> {
  return inTransaction(target.config, async (sequelize, transaction) => {
    const context = contextOf(sequelize, transaction, target.schemas, target.inPlace, target.lockTimeoutMs);
    await target.guard?.(context.query);
    await context.query(`SET LOCAL ROLE ${ident(target.owner)}`);
    await context.query(`
      CREATE TABLE IF NOT EXISTS ${context.org(MIGRATIONS_TABLE)} (
        name       text PRIMARY KEY,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
      )`);
    const umzug = new Umzug<MigrationContext>({
      migrations: MIGRATIONS.map((m) => ({
        name: m.name,
        up: async () => m.up(context),
        down: async () => m.down(context),
      })),
      context,
      storage: records(context.org(MIGRATIONS_TABLE)),
      logger: undefined,
    });
    return work(umzug, context);
  });
}

/** Umzug's record of what ran, written in the run's own transaction. */
function records(table: string): UmzugStorage<MigrationContext> {
  return {
    async logMigration({ name, context }) {
      await context.query(`INSERT INTO ${table} (name) VALUES ($1)`, [name]);
    },
    async unlogMigration({ name, context }) {
      await context.query(`DELETE FROM ${table} WHERE name = $1`, [name]);
    },
    async executed({ context }) {
      const rows = await context.query<{ name: string }>(`SELECT name FROM ${table} ORDER BY name`);
      return rows.map((r) => r.name);
    },
  };
}

/**
 * One sequelize transaction under the migrations' advisory lock (FIELD-NOTES H, "Verified pattern"): a run that
 * waited for another sees what that one has applied.
 */
export async function inTransaction<T>(
  config: pg.ClientConfig,
  work: (sequelize: Sequelize, transaction: Transaction) => Promise<T>,
): Promise<T> {
  const sequelize = openSequelize(config, 1);
  try {
    return await sequelize.transaction(async (transaction) => {
      await sequelize.query(`SELECT pg_advisory_xact_lock(${LOCK_KEY})`, { transaction });
      return work(sequelize, transaction);
    });
  } catch (error) {
    throw unwrapped(error);
  } finally {
    await sequelize.close();
  }
}

/** A sequelize with exactly the driver's configuration; it cannot take a client of ours. The caller closes it. */
export function openSequelize(config: pg.ClientConfig, sessions: number): Sequelize {
  const options: Options = {
    dialect: 'postgres',
    dialectModule: pg,
    ...(config.host === undefined ? {} : { host: config.host }),
    ...(config.port === undefined ? {} : { port: config.port }),
    ...(config.database === undefined ? {} : { database: config.database }),
    ...(config.user === undefined ? {} : { username: config.user }),
    ...(typeof config.password === 'string' ? { password: config.password } : {}),
    dialectOptions: {
      ssl: config.ssl ?? false,
      options: config.options,
      application_name: config.application_name,
      keepAlive: config.keepAlive,
      connectionTimeoutMillis: config.connectionTimeoutMillis,
      // Pinned by the configuration; sequelize would set its own over it.
      clientMinMessages: 'ignore',
    },
    logging: false,
    pool: { max: sessions, min: 0, idle: 1_000 },
    retry: { max: 0 },
  };
  return new Sequelize(options);
}

/** @returns the error that umzug and sequelize have wrapped: ours, or the server's with its SQLSTATE. */
function unwrapped(error: unknown): unknown {
  if (error instanceof MigrationError) return unwrapped(error.cause);
  const parent = (error as { parent?: unknown }).parent;
  return parent instanceof Error ? parent : error;
}

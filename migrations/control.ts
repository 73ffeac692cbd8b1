import { createHash } from 'node:crypto';
import type pg from 'pg';
import { MigrationError, Umzug, type UmzugStorage } from 'umzug';
import { ident } from '../src/mapping/identifier.ts';
import { NOT_FOR_PUBLIC, REQUEST_FUNCTIONS } from './control-rights.ts';
import { CONTROL_BOTH, CONTROL_GREEN } from './control-schema.ts';
import { inTransaction } from './migrator.ts';
import { contextOf, type MigrationContext } from './session.ts';

/** Where a control schema is made, and for which side. */
export interface ControlTarget {
  /** The driver's configuration of one session of the sync role, which becomes the schema's owner. */
  readonly config: pg.ClientConfig;
  readonly side: 'blue' | 'green';
  readonly migration: string;
  /** The role that owns the side's tables, and so the fence function, which counts on our sequences. */
  readonly owner: string;
}

const NAME = '001-control-schema';

/**
 * Which control schema this version makes and works with: a digest of its statements, without comments and layout. One
 * that is different has other tables or functions, which would be found missing in the middle of the work.
 */
export const CONTROL_DIGEST = createHash('sha256')
  .update(
    [CONTROL_BOTH, CONTROL_GREEN, REQUEST_FUNCTIONS, NOT_FOR_PUBLIC]
      .join('\n')
      .replaceAll(/--[^\n]*/g, '')
      .replaceAll(/\s+/g, ' '),
  )
  .digest('hex');

// As JSON: older ones have no column for the digest.
const MADE_BY = `
  SELECT to_jsonb(m) ->> 'digest' AS digest, to_char(m.applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') AS at
  FROM orchestrator.migration AS m
  WHERE name = $1`;

/** Which digest a side's control schema was made with, null for older ones, and when. @returns null where there is none. */
export async function controlMadeBy(
  client: pg.ClientBase,
): Promise<{ readonly digest: string | null; readonly at: string } | null> {
  const { rows } = await client.query<{ digest: string | null; at: string }>(MADE_BY, [NAME]);
  return rows[0] ?? null;
}

/**
 * Creates the control schema of a side and the side's own row: blue serves, green is standby, generation 0. What is
 * there already stays as it is, so repeating is harmless; two at once are serialised by the migrations' lock.
 * @returns whether it was made now.
 */
export async function controlUp(target: ControlTarget): Promise<boolean> {
  return run(target, async (umzug) => (await umzug.up()).length > 0);
}

/** Drops the control schema of a side, whole. One that is not there is no error. */
export async function controlDown(target: Omit<ControlTarget, 'migration' | 'owner'>): Promise<void> {
  await inTransaction(target.config, async (sequelize, transaction) => {
    await sequelize.query('DROP SCHEMA IF EXISTS orchestrator CASCADE', { transaction });
  });
}

async function up(m: MigrationContext, target: ControlTarget): Promise<void> {
  await m.query(CONTROL_BOTH);
  if (target.side === 'green') await m.query(CONTROL_GREEN + REQUEST_FUNCTIONS);
  await m.query(`
    CREATE TABLE orchestrator.migration (
      name       text PRIMARY KEY,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      digest     text NOT NULL
    )`);
  await m.query('INSERT INTO orchestrator.side (migration, side, role) VALUES ($1, $2, $3)', [
    target.migration,
    target.side,
    target.side === 'blue' ? 'serving' : 'standby',
  ]);
  await m.query(NOT_FOR_PUBLIC);
  // `migrate`, as the owner, sees by it that a run is on this database.
  await m.query(`GRANT SELECT ON orchestrator.side TO ${ident(target.owner)}`);
  // The fence function runs as the tables' owner and counts what it refuses, and what an expired lease let through.
  await m.query(`GRANT USAGE ON SCHEMA orchestrator TO ${ident(target.owner)}`);
  await m.query(
    `GRANT USAGE ON SEQUENCE orchestrator.fence_refused, orchestrator.fence_late TO ${ident(target.owner)}`,
  );
}

async function run<T>(
  target: ControlTarget,
  work: (umzug: Umzug<MigrationContext>) => Promise<T>,
): Promise<T> {
  return inTransaction(target.config, async (sequelize, transaction) => {
    const context = contextOf(sequelize, transaction, { source: 'public', org: 'public' }, false);
    try {
      return await work(
        new Umzug<MigrationContext>({
          migrations: [{ name: NAME, up: async () => up(context, target) }],
          context,
          storage: records(),
          logger: undefined,
        }),
      );
    } catch (error) {
      throw error instanceof MigrationError ? error.cause : error;
    }
  });
}

/** The records lie inside the schema they speak of, and go with it. */
function records(): UmzugStorage<MigrationContext> {
  return {
    async logMigration({ name, context }) {
      await context.query('INSERT INTO orchestrator.migration (name, digest) VALUES ($1, $2)', [
        name,
        CONTROL_DIGEST,
      ]);
    },
    async unlogMigration({ name, context }) {
      await context.query('DELETE FROM orchestrator.migration WHERE name = $1', [name]);
    },
    async executed({ context }) {
      const [has] = await context.query<{ found: boolean }>(
        `SELECT to_regclass('orchestrator.migration') IS NOT NULL AS found`,
      );
      if (!has?.found) return [];
      const rows = await context.query<{ name: string }>('SELECT name FROM orchestrator.migration');
      return rows.map((r) => r.name);
    },
  };
}

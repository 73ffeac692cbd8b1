import type pg from 'pg';
import { BatchFailed } from '../../migrations/in-place/batch-failed.ts';
import { type InPlaceProgress, readInPlace } from '../../migrations/in-place/progress.ts';
import { statementsOf } from '../../migrations/in-place/statements.ts';
import {
  BASE_REVISION,
  migrateDown,
  migrateUp,
  migrationStatus,
  revision,
} from '../../migrations/migrator.ts';
import { MigrationRefused, type RunQuery, tablesOwner } from '../../migrations/session.ts';
import { qualified } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { clientConfig, connect } from '../pg/connect.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import { type LockWait, lockWaits } from '../pg/lock-waits.ts';
import type { Side } from '../pg/side.ts';
import { relationsOf, type Schemas } from '../state/names.ts';
import { probeInPlace } from '../verify/probe.ts';
import { type InPlaceOptions, takeTurn, upInPlace } from './migrate/in-place.ts';

/** What an in-place 057 has done and cost; times and sizes are those of this database. */
export interface InPlaceDocument {
  readonly started_at: string;
  readonly finished_at: string | null;
  readonly rows_expected: number;
  readonly rows_read: number;
  /** Rows that were read again because they were written meanwhile. */
  readonly rows_again: number;
  readonly batches: number;
  readonly busy_seconds: number;
  /** How long the last pass locked writers out. */
  readonly locked_seconds: number | null;
  readonly database_bytes_before: number;
  readonly database_bytes_after: number | null;
  /** One user's settings, read through each schema; null until 057 is applied. */
  readonly query_seconds: { readonly old: number; readonly new: number } | null;
  readonly failed: {
    readonly batch: number;
    readonly id: number | null;
    readonly sqlstate: string | null;
    readonly on: string | null;
  } | null;
}

/** What `migrate` ends with. */
export interface MigrateDocument {
  readonly action: 'up' | 'down' | 'status';
  readonly side: Side;
  /** Names that were applied or taken back now. */
  readonly changed: readonly string[];
  readonly migrations: readonly { readonly name: string; readonly applied_at: string | null }[];
  /** null where 057 never began in place. */
  readonly in_place: InPlaceDocument | null;
  /** Sessions that wait for a lock because of us, or for one of these tables. */
  readonly lock_waits: readonly LockWait[];
  readonly next_steps: readonly string[];
}

export interface MigrateOptions extends InPlaceOptions {
  /** The revision that remains applied; `down` needs it. */
  readonly to?: string | undefined;
  /** Told what `down` is about to delete, where that is anything; rejects when it is not wanted. */
  readonly confirm: (about: readonly string[]) => Promise<void>;
}

/** A view of that name is the compatibility view: no rows of its own. */
const STANDING = `
  SELECT to_regclass('orchestrator.side') IS NOT NULL AS run_exists,
         EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p')) AS source_here,
         to_regclass($2) IS NOT NULL AND to_regclass($3) IS NOT NULL AS org_here`;

/**
 * The schema migrations of the organisational model on one database, outside of any run.
 * @throws OrchestrateError RUN_EXISTS while a migration run is on this database; MIGRATION_REFUSED when a revision
 * cannot be applied or taken back as things are; MIGRATION_FAILED, which names the row when it is a row's fault. What
 * was committed before stays, and the same command goes on from there.
 */
export async function migrateSide(
  endpoint: Endpoint,
  schemas: Schemas,
  action: MigrateDocument['action'],
  options: MigrateOptions,
): Promise<MigrateDocument> {
  const client = await connect(endpoint, { purpose: 'migrate' });
  try {
    const query: RunQuery = async <Row extends object>(sql: string, bind: readonly unknown[]) =>
      (await client.query<Row & pg.QueryResultRow>(sql, [...bind])).rows;
    const changed =
      action === 'status' ? [] : await change(client, query, endpoint, schemas, action, options);
    const migrations = (await migrationStatus(query, schemas)).map((m) => ({
      name: m.name,
      applied_at: m.appliedAt,
    }));
    const progress = await readInPlace(query, schemas);
    const relations = relationsOf(schemas);
    const asked = progress?.finished_at == null ? null : await probeInPlace(client, relations);
    const inPlace = progress === null ? null : documentOf(progress, asked);
    return {
      action,
      side: endpoint.side,
      changed,
      migrations,
      in_place: inPlace,
      lock_waits: await lockWaits(client, endpoint.side, [
        relations.userSettings,
        relations.role,
        relations.org,
        relations.user,
        relations.orgUser,
        relations.settings,
      ]),
      next_steps: nextSteps(endpoint.side, migrations, inPlace),
    };
  } catch (error) {
    throw refusal(error, endpoint.side);
  } finally {
    await client.end().catch(() => {});
  }
}

async function change(
  client: pg.Client,
  query: RunQuery,
  endpoint: Endpoint,
  schemas: Schemas,
  action: 'up' | 'down',
  options: MigrateOptions,
): Promise<string[]> {
  const [standing] = await query<{ run_exists: boolean; source_here: boolean; org_here: boolean }>(STANDING, [
    qualified(schemas.source, 'user_settings'),
    qualified(schemas.org, 'user'),
    qualified(schemas.org, 'org_user'),
  ]);
  if (standing?.run_exists)
    throw failure('RUN_EXISTS', {
      expected: `no migration run on ${endpoint.side}`,
      found: 'its control schema',
    });
  const inPlace = standing?.source_here === true;
  const target = {
    config: clientConfig(endpoint, { purpose: 'migrate' }),
    schemas,
    // In place everything belongs to whom the old table belongs to.
    owner: inPlace
      ? await tablesOwner(query, schemas.source, 'user_settings')
      : await tablesOwner(query, schemas.org, 'user'),
    inPlace,
  };
  if (inPlace) await takeTurn(query, options.note);
  if (action === 'up')
    return inPlace ? upInPlace(client, query, target, options.to, options) : migrateUp(target, options.to);
  if (options.to === undefined)
    throw failure('CONFIG_INVALID', {
      message: 'migrate down needs --to',
      expected: 'the revision that remains applied, such as --to 055',
      found: 'none',
    });
  // Where the old table is elsewhere, the org model holds the only copy of what is written there.
  if (!inPlace)
    throw failure('MIGRATION_REFUSED', {
      message: 'taking the tables back would lose their rows',
      expected: `${schemas.source}.user_settings in the same database`,
      found: 'no such table',
      fix: 'orchestrate abort, if a run made these tables',
    });
  if (standing.org_here && !keepsRows(options.to)) {
    const about = await losses(query, schemas);
    if (about.length > 0) await options.confirm(about);
  }
  return migrateDown(target, options.to);
}

/** Whether a revision that remains keeps the rows: only 057 and what comes after it. */
function keepsRows(to: string): boolean {
  return !to.startsWith(BASE_REVISION) && revision(to) >= '057';
}

/** What `down` deletes, in words; nothing where there is nothing. */
async function losses(query: RunQuery, schemas: Schemas): Promise<string[]> {
  const sql = statementsOf(schemas);
  const [held] = await query<Record<'role' | 'org' | 'user' | 'org_user' | 'settings' | 'apart', string>>(
    sql.holdings,
    [],
  );
  if (held === undefined) return [];
  const { apart, ...tables } = held;
  if (Object.values(tables).every((rows) => rows === '0')) return [];
  return [
    `down deletes from schema ${schemas.org}: ${Object.entries(tables)
      .map(([table, rows]) => `${rows} of ${table}`)
      .join(', ')}`,
    ...(apart === '0' ? [] : [`${apart} of these users are not in user_settings: they are lost`]),
    'what the new application has changed since is lost too; user_settings is not touched',
  ];
}

function documentOf(p: InPlaceProgress, asked: InPlaceDocument['query_seconds']): InPlaceDocument {
  return {
    started_at: p.started_at,
    finished_at: p.finished_at,
    rows_expected: Number(p.rows_expected),
    rows_read: Number(p.rows_read),
    rows_again: Number(p.rows_again),
    batches: p.batches,
    busy_seconds: p.busy_ms / 1_000,
    locked_seconds: p.locked_ms === null ? null : p.locked_ms / 1_000,
    database_bytes_before: Number(p.size_before),
    database_bytes_after: p.size_after === null ? null : Number(p.size_after),
    query_seconds: asked,
    failed:
      p.failed_batch === null
        ? null
        : { batch: p.failed_batch, id: p.failed_id, sqlstate: p.failed_state, on: p.failed_on },
  };
}

function nextSteps(
  side: Side,
  migrations: MigrateDocument['migrations'],
  inPlace: InPlaceDocument | null,
): string[] {
  const where = side === 'blue' ? ' --side blue' : '';
  if (inPlace?.failed)
    return [`mend row ${inPlace.failed.id ?? ''}`.trim(), `orchestrate migrate up${where} --to 057`];
  const pending = migrations.find((m) => m.applied_at === null);
  if (pending !== undefined) return [`orchestrate migrate up${where} --to ${pending.name.slice(0, 3)}`];
  return side === 'blue' ? ['orchestrate verify --guide --side blue'] : [];
}

function refusal(error: unknown, side: Side): unknown {
  if (error instanceof MigrationRefused)
    return failure('MIGRATION_REFUSED', {
      message: error.message,
      expected: error.expected,
      found: error.found,
      fix: error.fix,
    });
  if (error instanceof BatchFailed)
    return failure('MIGRATION_FAILED', {
      message: `${error.message}; everything before it is kept`,
      expected: 'rows that the new tables accept',
      found: `user_settings row ${error.rowId ?? '(none alone)'}: error ${error.state}${error.on === null ? '' : ` on ${error.on}`}`,
      fix: `mend that row, then orchestrate migrate up${side === 'blue' ? ' --side blue' : ''} --to 057`,
      cause: error.cause,
    });
  const state = sqlState(error);
  // Only what the server refused; a lost connection and the like keep their own codes.
  if (state !== undefined && /^(22|23|42)/.test(state))
    return failure('MIGRATION_FAILED', { found: `error ${state}`, cause: error });
  return error;
}

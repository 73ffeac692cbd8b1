import type pg from 'pg';
import { migrateDown, migrateUp, migrationStatus } from '../../migrations/migrator.ts';
import { MigrationRefused, type RunQuery, tablesOwner } from '../../migrations/session.ts';
import { qualified } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { clientConfig, connect } from '../pg/connect.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import type { Side } from '../pg/side.ts';
import type { Schemas } from '../state/names.ts';

/** What `migrate` ends with. */
export interface MigrateDocument {
  readonly action: 'up' | 'down' | 'status';
  readonly side: Side;
  /** Names that were applied or taken back now. */
  readonly changed: readonly string[];
  readonly migrations: readonly { readonly name: string; readonly applied_at: string | null }[];
}

const STANDING = `
  SELECT to_regclass('orchestrator.side') IS NOT NULL AS run_exists,
         to_regclass($1) IS NOT NULL AS source_here`;

/**
 * The schema migrations of the organisational model on one database, outside of any run.
 * @param to the revision that remains applied; `down` needs it.
 * @throws OrchestrateError RUN_EXISTS while a migration run is on this database; MIGRATION_REFUSED when a revision
 * cannot be applied or taken back as things are; MIGRATION_FAILED. Nothing is changed then.
 */
export async function migrateSide(
  endpoint: Endpoint,
  schemas: Schemas,
  action: MigrateDocument['action'],
  to: string | undefined,
): Promise<MigrateDocument> {
  const client = await connect(endpoint, { purpose: 'migrate' });
  try {
    const query: RunQuery = async <Row extends object>(sql: string, bind: readonly unknown[]) =>
      (await client.query<Row & pg.QueryResultRow>(sql, [...bind])).rows;
    const changed = action === 'status' ? [] : await change(query, endpoint, schemas, action, to);
    const migrations = (await migrationStatus(query, schemas)).map((m) => ({
      name: m.name,
      applied_at: m.appliedAt,
    }));
    return { action, side: endpoint.side, changed, migrations };
  } catch (error) {
    throw refusal(error);
  } finally {
    await client.end().catch(() => {});
  }
}

async function change(
  query: RunQuery,
  endpoint: Endpoint,
  schemas: Schemas,
  action: 'up' | 'down',
  to: string | undefined,
): Promise<string[]> {
  const [standing] = await query<{ run_exists: boolean; source_here: boolean }>(STANDING, [
    qualified(schemas.source, 'user_settings'),
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
    owner: await tablesOwner(query, schemas.org, 'user'),
    inPlace,
  };
  if (action === 'up') return migrateUp(target, to);
  if (to === undefined)
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
  return migrateDown(target, to);
}

function refusal(error: unknown): unknown {
  if (error instanceof MigrationRefused)
    return failure('MIGRATION_REFUSED', {
      message: error.message,
      expected: error.expected,
      found: error.found,
      fix: error.fix,
    });
  const state = sqlState(error);
  // Only what the server refused; a lost connection and the like keep their own codes.
  if (state !== undefined && /^(22|23|42)/.test(state))
    return failure('MIGRATION_FAILED', { found: `error ${state}`, cause: error });
  return error;
}

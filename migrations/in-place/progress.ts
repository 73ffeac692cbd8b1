import { MigrationRefused, type RunQuery, type TableSchemas } from '../session.ts';
import { statementsOf } from './statements.ts';

/** How far an in-place 057 has come, as its one row says. Times are the server's text. */
export interface InPlaceProgress {
  readonly started_at: string;
  /** null until the last pass has committed. */
  readonly finished_at: string | null;
  /** Rows of user_settings when it began. */
  readonly rows_expected: string;
  /** Changes of this transaction and of later ones have not been looked at yet. */
  readonly since: string;
  /** Rows up to this id have been read once. */
  readonly last_id: string;
  readonly rows_read: string;
  /** Rows that were read again, because they were written meanwhile. */
  readonly rows_again: string;
  readonly batches: number;
  /** Whether every row has been read once. */
  readonly copied: boolean;
  /** Time in batches, over all attempts. */
  readonly busy_ms: number;
  /** How long writers were locked out at the end. */
  readonly locked_ms: number | null;
  readonly size_before: string;
  readonly size_after: string | null;
  /** The batch that failed last, its row and why: SQLSTATE and the name of a constraint or column. */
  readonly failed_batch: number | null;
  readonly failed_id: number | null;
  readonly failed_state: string | null;
  readonly failed_on: string | null;
  /** Statements that make the foreign keys again which are set aside for the first reading; null while none is. */
  readonly foreign_keys: readonly string[] | null;
}

/** @returns the progress of 057 in this database, or null where it never began in place. */
export async function readInPlace(query: RunQuery, schemas: TableSchemas): Promise<InPlaceProgress | null> {
  const sql = statementsOf(schemas);
  const [has] = await query<{ found: boolean }>(sql.hasProgress, []);
  if (has?.found !== true) return null;
  const [row] = await query<InPlaceProgress>(sql.readProgress, []);
  return row ?? null;
}

/** The same, where it has begun. */
export async function inPlaceProgress(query: RunQuery, schemas: TableSchemas): Promise<InPlaceProgress> {
  const progress = await readInPlace(query, schemas);
  if (progress === null) throw new Error('057 has not begun in place');
  return progress;
}

/**
 * Stores where changes are to be looked for, before the first row is read, and seeds the roles. In the caller's
 * transaction; harmless where it was done before.
 * @throws MigrationRefused when the org tables hold rows that are not ours.
 */
export async function beginInPlace(query: RunQuery, schemas: TableSchemas): Promise<void> {
  if ((await readInPlace(query, schemas)) !== null) return;
  const sql = statementsOf(schemas);
  const [occupied] = await query<{ names: string }>(sql.occupied, []);
  if (occupied !== undefined && occupied.names !== '')
    throw new MigrationRefused('057 cannot move rows beside others', {
      expected: 'empty tables org, user, org_user and settings',
      found: `rows in ${occupied.names}`,
      fix: 'orchestrate migrate down --side blue --to 055, or empty the tables',
    });
  await query(sql.createProgress, []);
  await query(sql.beginProgress, []);
  // Memberships refer to the roles.
  await query(sql.seedRoles, []);
}

import { MigrationRefused, type RunQuery, type TableSchemas } from '../session.ts';
import { sqlStateOf } from './batch-failed.ts';
import { inPlaceProgress } from './progress.ts';
import { statementsOf } from './statements.ts';

/**
 * Takes the foreign keys among the org tables away while the rows are read for the first time: four checks a row are
 * half of what that costs. Their definitions are kept beside the progress, in the same transaction, so whoever goes on
 * or takes 057 back can make them again. Harmless where it was done before; in the caller's transaction.
 */
export async function setForeignKeysAside(query: RunQuery, schemas: TableSchemas): Promise<void> {
  if ((await inPlaceProgress(query, schemas)).foreign_keys !== null) return;
  const sql = statementsOf(schemas);
  const keys = await query<{ add: string; drop: string }>(sql.foreignKeys, []);
  await query(sql.keepForeignKeys, [keys.map((key) => key.add)]);
  for (const key of keys) await query(key.drop, []);
}

/**
 * Makes them again, which checks every row, before anything is read a second time: from then on a row is taken away,
 * and what somebody has attached to it must stop that (I8). In the caller's transaction.
 * @throws MigrationRefused that names the key when somebody has written a row of the org model that it does not allow.
 */
export async function restoreForeignKeys(query: RunQuery, schemas: TableSchemas): Promise<void> {
  const sql = statementsOf(schemas);
  for (const add of (await inPlaceProgress(query, schemas)).foreign_keys ?? [])
    await query(add, []).catch((error: unknown) => {
      throw sqlStateOf(error) === FOREIGN_KEY_VIOLATION ? orphaned(error) : error;
    });
  await query(sql.keepForeignKeys, [null]);
}

const FOREIGN_KEY_VIOLATION = '23503';

/** Every row of 057 has what it refers to, so the row is somebody else's, written while the keys were aside. */
function orphaned(error: unknown): MigrationRefused {
  const { constraint = 'a foreign key', table = 'the org model' } = error as {
    constraint?: string;
    table?: string;
  };
  return new MigrationRefused('somebody else wrote to the org tables while 057 was at work', {
    expected: `rows of ${table} that ${constraint} allows`,
    found: 'at least one whose referenced row does not exist',
    fix: 'orchestrate verify --guide --side blue counts such rows; delete them, then orchestrate migrate up --side blue --to 057',
  });
}

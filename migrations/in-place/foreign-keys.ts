import type { RunQuery, TableSchemas } from '../session.ts';
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
 */
export async function restoreForeignKeys(query: RunQuery, schemas: TableSchemas): Promise<void> {
  const sql = statementsOf(schemas);
  for (const add of (await inPlaceProgress(query, schemas)).foreign_keys ?? []) await query(add, []);
  await query(sql.keepForeignKeys, [null]);
}

import { restoreForeignKeys } from './in-place/foreign-keys.ts';
import { beginInPlace, inPlaceProgress, readInPlace } from './in-place/progress.ts';
import { reconcile } from './in-place/reconcile.ts';
import { statementsOf } from './in-place/statements.ts';
import type { Migration, MigrationContext } from './session.ts';

/** Rows a statement of the last pass: all of them are one transaction anyway. */
const PAGE = 1_000;

/**
 * On a separate green only the roles: rows come by bulk copy. In place, where `user_settings` lies beside the org
 * model, the rows move too: `moveInPlace` has moved most of them before, and what is left is read here with writers
 * locked out, so that the org model is the exact image of the moment at which this commits. Without that preparation
 * all of it happens here, in one transaction.
 */
export const migrateUserSettingsMigration: Migration = {
  name: '057-migrate-user-settings',

  async up(m) {
    const sql = statementsOf(m.schemas);
    if (m.inPlace) await lastPass(m);
    else await m.query(sql.seedRoles);
    await m.query(sql.alignRoles);
  },

  async down(m) {
    const sql = statementsOf(m.schemas);
    await m.query(sql.empty);
    if ((await readInPlace(m.query, m.schemas)) !== null) await restoreForeignKeys(m.query, m.schemas);
    await m.query(sql.dropProgress);
  },
};

async function lastPass(m: MigrationContext): Promise<void> {
  const sql = statementsOf(m.schemas);
  if (m.lockTimeoutMs !== undefined) await m.query(`SET LOCAL lock_timeout = ${Math.ceil(m.lockTimeoutMs)}`);
  await m.query(sql.lock);
  const lockedAt = performance.now();
  await beginInPlace(m.query, m.schemas);
  const progress = await inPlaceProgress(m.query, m.schemas);
  // Whoever was killed while rows were read for the first time has left them aside; with its record 057 is whole.
  await restoreForeignKeys(m.query, m.schemas);
  const [now] = await m.query<{ high: string }>(sql.horizon);
  if (now === undefined) throw new Error('the server showed no snapshot');
  const again = await reconcile(
    { query: m.query, sql, batchSize: PAGE, locked: true, page: async (_ids, work) => work() },
    { low: progress.copied ? BigInt(progress.since) : null, high: BigInt(now.high) },
  );
  for (const table of ['org', 'user', 'settings'] as const) await m.query(sql.alignSequence(table));
  await m.query(sql.finish, [again, performance.now() - lockedAt]);
}

import type pg from 'pg';
import { ident } from '../../src/mapping/identifier.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import { failure } from '../errors/failure.ts';
import type { Context } from '../state/context.ts';

/**
 * Two indexes of ours on green's settings table, made when many users are to be deleted.
 *
 * Whoever deletes an organisation or a user is asked, row by row, whether a settings row refers to it, and the model's
 * own indexes on `settings` are partial: every answer is a scan of the table. Twenty thousand deletions took minutes.
 */
const INDEXES = [
  { name: 'orchestrate_settings_org_id', column: 'org_id' },
  { name: 'orchestrate_settings_user_id', column: 'user_id' },
] as const;

/** Pages of such scans (8 kB each) that are put up with before the indexes are made: about a second. */
const PATIENCE_PAGES = 200_000;

const SIZE = `
  SELECT (pg_relation_size($1::regclass) / current_setting('block_size')::bigint)::integer AS pages,
         (SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
          WHERE i.indrelid = $1::regclass AND i.indisvalid
            AND c.relname = ANY ($2::text[]))::integer AS made`;

/** Decides when the indexes pay, and makes them. */
export class DeleteIndexes {
  readonly #relations: Relations;
  #scannedPages = 0;
  #made = false;
  #wanted = false;

  constructor(relations: Relations) {
    this.#relations = relations;
  }

  /**
   * So many users are about to be deleted in the current transaction.
   * @throws OrchestrateError TRANSIENT when the indexes have to come first: an index that is made beside rows updated
   *   in the same moment cannot be used by that transaction.
   */
  async expect(client: pg.Client, users: number): Promise<void> {
    if (this.#made) return;
    const { rows } = await client.query<{ pages: number; made: number }>(SIZE, [
      this.#relations.settings,
      INDEXES.map((i) => i.name),
    ]);
    this.#made = rows[0]?.made === INDEXES.length;
    this.#scannedPages += 2 * users * (rows[0]?.pages ?? 0);
    if (this.#made || this.#scannedPages < PATIENCE_PAGES) return;
    this.#wanted = true;
    throw failure('TRANSIENT', { expected: 'indexes for many deletions', found: 'none yet' });
  }

  /** Makes the indexes if they were missed, in the caller's transaction, which nothing else writes in. */
  async make(client: pg.Client): Promise<void> {
    if (!this.#wanted) return;
    for (const { name, column } of INDEXES)
      await client.query(
        `CREATE INDEX IF NOT EXISTS ${ident(name)} ON ${this.#relations.settings} (${ident(column)})`,
      );
    this.#wanted = false;
  }
}

/** Removes the indexes; ones that are not there are no error. Runs inside or outside a transaction. */
export async function dropDeleteIndexes(client: pg.ClientBase, ctx: Context): Promise<void> {
  const names = INDEXES.map((i) => `${ident(ctx.schemas.org)}.${ident(i.name)}`).join(', ');
  await client.query(`DROP INDEX IF EXISTS ${names}`);
}

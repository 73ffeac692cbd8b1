import type pg from 'pg';
import { ident, qualified } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import type { Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { tablesOf } from '../state/names.ts';

/**
 * Publishes a side's application tables, by name, in a transaction of its own.
 *
 * The table lock waits for open writers and keeps new ones out until the commit: CREATE PUBLICATION alone races with
 * them, and their rows would be missing (FIELD-NOTES A). A publication that is there and right is left alone.
 * @param client a session outside any transaction.
 * @throws OrchestrateError LOCK_TIMEOUT when writers do not end in time; PUBLICATION_CHANGED when another one of that
 *   name exists.
 */
export async function createPublication(
  client: pg.ClientBase,
  ctx: Context,
  side: Side,
  lockTimeoutMs = 5_000,
): Promise<void> {
  const tables = tablesOf(side, ctx.schemas)
    .map((t) => qualified(t.schema, t.name))
    .join(', ');
  try {
    await transaction(client, async () => {
      await holdClaim(client, ctx.claim());
      await client.query(`SET LOCAL lock_timeout = '${lockTimeoutMs}ms'`);
      await client.query(`LOCK TABLE ${tables} IN SHARE ROW EXCLUSIVE MODE`);
      if ((await published(client, ctx, side)) === undefined)
        await client.query(
          `CREATE PUBLICATION ${ident(ctx.names.publication[side])} FOR TABLE ${tables}
             WITH (publish = 'insert, update, delete, truncate')`,
        );
      await checkPublication(client, ctx, side);
    });
  } catch (error) {
    if (sqlState(error) !== '55P03') throw error;
    throw failure('LOCK_TIMEOUT', {
      message: `the tables of ${side} could not be locked to publish them`,
      expected: `no transaction that has written to ${tables} for longer than ${lockTimeoutMs} ms`,
      found: await blockers(client, ctx, side).catch(() => 'such a transaction'),
      cause: error,
    });
  }
}

/**
 * Removes our publication, in a transaction of its own; one that is not there is no error.
 * @throws OrchestrateError STALE_EPOCH when somebody else has taken over.
 */
export async function dropPublication(client: pg.ClientBase, ctx: Context, side: Side): Promise<void> {
  await transaction(client, async () => {
    await holdClaim(client, ctx.claim());
    await client.query(`DROP PUBLICATION IF EXISTS ${ident(ctx.names.publication[side])}`);
  });
}

const PUBLISHED = `
  SELECT p.puballtables AS all_tables,
         p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS all_changes,
         coalesce(
           (SELECT array_agg(n.nspname || '.' || c.relname ORDER BY n.nspname, c.relname)
            FROM pg_publication_rel AS r
            JOIN pg_class AS c ON c.oid = r.prrelid
            JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE r.prpubid = p.oid),
           '{}')::text[] AS tables,
         EXISTS (
           SELECT 1 FROM pg_publication_rel AS r
           WHERE r.prpubid = p.oid AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL)) AS narrowed,
         EXISTS (SELECT 1 FROM pg_publication_namespace AS s WHERE s.pnpubid = p.oid) AS schemas
  FROM pg_publication AS p
  WHERE p.pubname = $1`;

interface Published {
  readonly all_tables: boolean;
  readonly all_changes: boolean;
  readonly tables: readonly string[];
  readonly narrowed: boolean;
  readonly schemas: boolean;
}

async function published(client: pg.ClientBase, ctx: Context, side: Side): Promise<Published | undefined> {
  const { rows } = await client.query<Published>(PUBLISHED, [ctx.names.publication[side]]);
  return rows[0];
}

/**
 * Proves that the publication still is the one we made: these tables, whole, every kind of change. A missing one is
 * only a WARNING in the walsender of 18, and then nothing at all is sent.
 * @throws OrchestrateError PUBLICATION_CHANGED.
 */
export async function checkPublication(client: pg.ClientBase, ctx: Context, side: Side): Promise<void> {
  const changed = (expected: string, found: string) =>
    failure('PUBLICATION_CHANGED', {
      message: `publication ${ctx.names.publication[side]} on ${side} is not the one that was created`,
      expected,
      found,
    });
  const found = await published(client, ctx, side);
  if (found === undefined) throw changed('a publication', 'none');
  const tables = tablesOf(side, ctx.schemas)
    .map((t) => `${t.schema}.${t.name}`)
    .sort();
  if (found.all_tables || found.schemas) throw changed('named tables only', 'all tables or a whole schema');
  if ([...found.tables].sort().join(', ') !== tables.join(', '))
    throw changed(tables.join(', '), found.tables.join(', ') || 'no tables');
  if (found.narrowed) throw changed('whole tables', 'a row filter or a column list');
  if (!found.all_changes) throw changed('insert, update, delete and truncate', 'fewer kinds of change');
}

const BLOCKERS = `
  SELECT string_agg(who, ', ') AS who
  FROM (
    SELECT CASE WHEN l.pid IS NULL THEN 'a prepared transaction' ELSE 'pid ' || l.pid END AS who
    FROM pg_locks AS l
    WHERE l.locktype = 'relation'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.relation = ANY ($1::regclass[])
      AND l.granted
      AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
      AND l.pid IS DISTINCT FROM pg_backend_pid()
    GROUP BY 1) AS b`;

async function blockers(client: pg.ClientBase, ctx: Context, side: Side): Promise<string> {
  const names = tablesOf(side, ctx.schemas).map((t) => qualified(t.schema, t.name));
  const { rows } = await client.query<{ who: string | null }>(BLOCKERS, [names]);
  return rows[0]?.who ?? 'it has ended meanwhile';
}

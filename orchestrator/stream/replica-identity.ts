import type pg from 'pg';
import { ident, literal, qualified } from '../../src/mapping/identifier.ts';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { tablesOf } from '../state/names.ts';

/** How a table of green identifies its rows to a stream, who owns it, and the statement that brings that back. */
interface Identity {
  readonly full: boolean;
  readonly owner: string;
  readonly definition: string;
}

const IDENTITY = `
  SELECT c.relreplident = 'f' AS full,
         pg_get_userbyid(c.relowner) AS owner,
         format('ALTER TABLE %I.%I REPLICA IDENTITY %s', n.nspname, c.relname,
                CASE c.relreplident
                  WHEN 'n' THEN 'NOTHING'
                  WHEN 'f' THEN 'FULL'
                  WHEN 'i' THEN coalesce(
                    (SELECT format('USING INDEX %I', x.relname)
                     FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                     WHERE i.indrelid = c.oid AND i.indisreplident), 'DEFAULT')
                  ELSE 'DEFAULT'
                END) AS definition
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.oid = $1::regclass`;

const SAVE = `
  INSERT INTO orchestrator.saved_object (ordinal, kind, table_name, name, definition)
  SELECT coalesce(max(o.ordinal), 0) + 1, 'replica identity', $1, 'replica identity', $2
  FROM orchestrator.saved_object AS o
  ON CONFLICT (table_name, name) DO NOTHING`;

const SAVED = `
  SELECT table_name, definition
  FROM orchestrator.saved_object
  WHERE kind = 'replica identity' AND ($1::text IS NULL OR table_name = $1)
  ORDER BY ordinal`;

const LOCK_TIMEOUT_MS = 2_000;
const TRIES = 15;

/**
 * REPLICA IDENTITY FULL for green's application tables, one transaction a table, so that a delete or a moved row says
 * whose it was (HISTORIES 27). What was there before is saved in the same transaction. A table that is FULL already is
 * left alone; so a killed run continues where it was.
 * @param green a session outside any transaction.
 * @throws OrchestrateError LOCK_TIMEOUT: the change needs ACCESS EXCLUSIVE for a moment.
 */
export async function makeIdentityFull(green: pg.Client, ctx: Context): Promise<void> {
  for (const { schema, name } of tablesOf('green', ctx.schemas)) {
    const table = qualified(schema, name);
    for (let tries = 1; !(await identityOf(green, table)).full; tries++) {
      try {
        await failpoint('identity.before');
        await transaction(green, async () => {
          await holdClaim(green, ctx.claim());
          await green.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT_MS}ms'`);
          await green.query(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
          const { full, owner, definition } = await identityOf(green, table);
          if (full) return;
          await green.query(SAVE, [table, definition]);
          await green.query(`SET LOCAL ROLE ${ident(owner)}`);
          await green.query(`ALTER TABLE ${table} REPLICA IDENTITY FULL`);
        });
        await failpoint('identity.after');
      } catch (error) {
        if (sqlState(error) !== '55P03' && sqlState(error) !== '40P01') throw error;
        if (tries >= TRIES)
          throw failure('LOCK_TIMEOUT', {
            message: `the replica identity of ${name} on green could not be changed`,
            expected: `a moment without other transactions on ${table} within ${(LOCK_TIMEOUT_MS * TRIES) / 1000} s`,
            found: 'none',
            cause: error,
          });
      }
    }
  }
}

async function identityOf(green: pg.Client, table: string): Promise<Identity> {
  const { rows } = await green.query<Identity>(IDENTITY, [table]);
  const row = rows[0];
  if (row === undefined)
    throw failure('SCHEMA_CHANGED', { expected: `table ${table} on green`, found: 'none' });
  return row;
}

/** @returns the application tables of green that are not REPLICA IDENTITY FULL. */
export async function tablesNotFull(green: pg.ClientBase, ctx: Pick<Context, 'schemas'>): Promise<string[]> {
  const names = tablesOf('green', ctx.schemas).map((t) => literal(qualified(t.schema, t.name)));
  const { rows } = await green.query<{ name: string }>(`
    SELECT t.name
    FROM unnest(ARRAY[${names.join(', ')}]) AS t(name)
    LEFT JOIN pg_class AS c ON c.oid = to_regclass(t.name)
    WHERE c.relreplident IS DISTINCT FROM 'f'`);
  return rows.map((r) => r.name);
}

/**
 * Gives green's tables the replica identities back that `makeIdentityFull` saved, in the caller's transaction; for
 * finalize and abort. A table that is gone is passed over.
 * @param only one table, quoted and qualified; all of them unless given.
 */
export async function restoreIdentities(green: pg.ClientBase, only?: string): Promise<void> {
  const { rows } = await green.query<{ table_name: string; definition: string }>(SAVED, [only ?? null]);
  for (const { table_name: table, definition } of rows) {
    const { rows: owners } = await green.query<{ owner: string }>(
      'SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE oid = to_regclass($1)',
      [table],
    );
    const owner = owners[0]?.owner;
    if (owner === undefined) continue;
    await green.query(`SET LOCAL ROLE ${ident(owner)}`);
    await green.query(definition);
    await green.query('RESET ROLE');
  }
}

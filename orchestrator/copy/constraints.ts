import type { ClientBase } from 'pg';
import { ident } from '../../src/mapping/identifier.ts';
import type { Context } from '../state/context.ts';

/** An index or constraint that is away while rows are loaded. */
export interface SavedObject {
  readonly ordinal: number;
  readonly kind: 'primary key' | 'constraint' | 'foreign key' | 'index';
  /** Qualified and quoted. */
  readonly table: string;
  readonly name: string;
  /** As `pg_get_constraintdef` or `pg_get_indexdef` prints it under an empty search path. */
  readonly definition: string;
}

/** The tables that the copy fills; `role` keeps its keys. */
export function loadedTables(ctx: Context): string[] {
  const { org, user, orgUser, settings } = ctx.relations;
  return [org, user, orgUser, settings];
}

/**
 * Everything on the loaded tables that costs time for each row, and foreign keys of any table that point at them,
 * because they hang on the primary keys. CHECK and NOT NULL constraints stay: they are cheap, and must hold.
 */
const SAVE = `
  WITH loaded AS (
    SELECT r.name::regclass::oid AS oid
    FROM unnest($1::text[]) AS r(name)
  ), object AS (
    SELECT CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'f' THEN 'foreign key' ELSE 'constraint' END AS kind,
           k.conrelid AS table_oid, k.conname AS name, pg_get_constraintdef(k.oid) AS definition
    FROM pg_constraint AS k
    WHERE k.conparentid = 0
      AND ((k.contype IN ('p', 'u', 'x') AND k.conrelid IN (SELECT oid FROM loaded))
        OR (k.contype = 'f' AND (k.conrelid IN (SELECT oid FROM loaded) OR k.confrelid IN (SELECT oid FROM loaded))))
    UNION ALL
    SELECT 'index', i.indrelid, c.relname, pg_get_indexdef(i.indexrelid)
    FROM pg_index AS i
    JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indrelid IN (SELECT oid FROM loaded)
      AND NOT EXISTS (
        SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
  )
  INSERT INTO orchestrator.saved_object (ordinal, kind, table_name, name, definition)
  SELECT row_number() OVER (ORDER BY o.kind, n.nspname, c.relname, o.name),
         o.kind, format('%I.%I', n.nspname, c.relname), o.name, o.definition
  FROM object AS o
  JOIN pg_class AS c ON c.oid = o.table_oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace`;

const READ = `
  SELECT ordinal, kind, table_name AS "table", name, definition
  FROM orchestrator.saved_object
  ORDER BY ordinal`;

/** @returns what is saved, in a stable order. */
export async function savedObjects(client: ClientBase): Promise<SavedObject[]> {
  return (await client.query<SavedObject>(READ)).rows;
}

/**
 * Saves and drops in the caller's transaction, the one that also writes the plan of the copy: either the definitions
 * are saved and the objects gone, or nothing has happened. What was saved before is not saved again.
 */
export async function saveAndDrop(client: ClientBase, ctx: Context): Promise<SavedObject[]> {
  if ((await savedObjects(client)).length === 0) await client.query(SAVE, [loadedTables(ctx)]);
  const saved = await savedObjects(client);
  const foreignKeysFirst = [...saved].sort(
    (a, b) => Number(b.kind === 'foreign key') - Number(a.kind === 'foreign key'),
  );
  for (const object of foreignKeysFirst)
    if (await isThere(client, object)) await client.query(dropOf(object));
  return saved;
}

/** Forgets what was saved, in the caller's transaction, once everything is back. */
export async function forgetSaved(client: ClientBase): Promise<void> {
  await client.query('DELETE FROM orchestrator.saved_object');
}

function dropOf(object: SavedObject): string {
  if (object.kind !== 'index') return `ALTER TABLE ${object.table} DROP CONSTRAINT ${ident(object.name)}`;
  return `DROP INDEX ${schemaOf(object)}.${ident(object.name)}`;
}

/** The quoted schema of `"schema"."table"`, as `format('%I.%I')` wrote it. */
function schemaOf(object: SavedObject): string {
  return /^("(?:[^"]|"")*"|[^".]+)\./.exec(object.table)?.[1] ?? '';
}

const NOT_VALID = / NOT VALID$/;

/** @returns the statement that brings an object back; a foreign key comes back not validated. */
export function restoreOf(object: SavedObject): string {
  if (object.kind === 'index') return object.definition;
  const notValid = object.kind === 'foreign key' && !NOT_VALID.test(object.definition) ? ' NOT VALID' : '';
  return `ALTER TABLE ${object.table} ADD CONSTRAINT ${ident(object.name)} ${object.definition}${notValid}`;
}

/** @returns the statement that validates a foreign key, or null where it was saved without being valid. */
export function validateOf(object: SavedObject): string | null {
  return NOT_VALID.test(object.definition)
    ? null
    : `ALTER TABLE ${object.table} VALIDATE CONSTRAINT ${ident(object.name)}`;
}

const CONSTRAINT_IS_THERE = `
  SELECT k.convalidated AS valid
  FROM pg_constraint AS k
  WHERE k.conrelid = $1::regclass AND k.conname = $2`;

const INDEX_IS_THERE = `
  SELECT i.indisvalid AS valid
  FROM pg_index AS i
  JOIN pg_class AS c ON c.oid = i.indexrelid
  WHERE i.indrelid = $1::regclass AND c.relname = $2`;

/** @returns whether the object exists, by table and name. */
export async function isThere(client: ClientBase, object: SavedObject): Promise<boolean> {
  return (await validity(client, object)) !== undefined;
}

/** @returns whether the object exists and is valid. */
export async function isValid(client: ClientBase, object: SavedObject): Promise<boolean> {
  return (await validity(client, object)) === true;
}

async function validity(client: ClientBase, object: SavedObject): Promise<boolean | undefined> {
  const { rows } = await client.query<{ valid: boolean }>(
    object.kind === 'index' ? INDEX_IS_THERE : CONSTRAINT_IS_THERE,
    [object.table, object.name],
  );
  return rows[0]?.valid;
}

import type pg from 'pg';
import { qualified } from '../../../src/mapping/identifier.ts';
import { openTextSession } from '../connection.ts';

/**
 * Everything of a database that a rehearsal could leave changed, a line each: what the catalogs say of the objects in
 * it, its slots, and where its sequences stand.
 */
const CATALOG = `
  SELECT line FROM (
    SELECT 'schema ' || n.nspname || ' ' || n.nspowner::regrole || ' ' || coalesce(n.nspacl::text, '') AS line
    FROM pg_namespace AS n
    WHERE n.nspname !~ '^pg_(toast|temp)'
    UNION ALL
    SELECT 'relation ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || c.relowner::regrole || ' '
             || coalesce(c.relacl::text, '') || ' ' || c.relreplident::text || ' ' || c.relrowsecurity || ' '
             || coalesce(c.reloptions::text, '')
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'column ' || a.attrelid::regclass || '.' || a.attname || ' ' || a.attnum || ' '
             || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || a.attidentity::text || ' '
             || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || ' ' || coalesce(a.attacl::text, '')
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE n.nspname !~ '^(pg_|information_schema)' AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || convalidated || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE connamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'index ' || pg_get_indexdef(i.indexrelid) || ' ' || i.indisvalid || ' ' || i.indisreplident
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'trigger ' || tgrelid::regclass || ' ' || tgenabled::text || ' ' || pg_get_triggerdef(oid)
    FROM pg_trigger
    WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure || ' ' || p.proowner::regrole || ' ' || coalesce(p.proacl::text, '') || ' '
             || md5(p.prosrc)
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'rule ' || ev_class::regclass || ' ' || rulename
    FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'publication ' || pubname || ' ' || puballtables FROM pg_publication
    UNION ALL
    SELECT 'published ' || pubname || ' ' || schemaname || '.' || tablename FROM pg_publication_tables
    UNION ALL
    SELECT 'extension ' || extname || ' ' || extversion FROM pg_extension
    UNION ALL
    SELECT 'default privileges ' || defaclrole::regrole || ' ' || defaclobjtype::text || ' ' || defaclacl::text
    FROM pg_default_acl
    UNION ALL
    SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
    UNION ALL
    SELECT 'sequence ' || format('%I.%I', schemaname, sequencename) || ' at ' || coalesce(last_value::text, 'its start')
    FROM pg_sequences
  ) AS picture
  ORDER BY line`;

const TABLES = `
  SELECT n.nspname AS schema, c.relname AS name,
         has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema)'
  ORDER BY 1, 2`;

/** Rows in no order: their number, and the sum of a hash of each one's text. */
const rowsOf = (table: string): string => `
  SELECT count(*)::text || ' rows, sum of hashes ' || coalesce(sum(hashtextextended(t::text, 0)::numeric)::text, '0') AS rows
  FROM ${table} AS t`;

/** A table that this login may not read; what it may not read, a rehearsal with it does not write. */
const UNREAD = ': not readable by this login';

/** A database as it is at one moment: one line for every object, position and table's rows. */
export type Picture = ReadonlySet<string>;

/** @returns catalogs, sequences' positions and digests of all rows that this login may read, of one snapshot. */
export async function pictureOf(url: string): Promise<Picture> {
  const client = await openTextSession(url, 'picture', 'pg_catalog');
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const lines = (await client.query<{ line: string }>(CATALOG)).rows.map(({ line }) => line);
    const tables = await client.query<{ schema: string; name: string; readable: boolean }>(TABLES);
    for (const { schema, name, readable } of tables.rows)
      lines.push(
        `table ${schema}.${name}${readable ? `: ${await digest(client, qualified(schema, name))}` : UNREAD}`,
      );
    await client.query('COMMIT');
    return new Set(lines);
  } finally {
    await client.end();
  }
}

async function digest(client: pg.Client, table: string): Promise<string> {
  return (await client.query<{ rows: string }>(rowsOf(table))).rows[0]?.rows ?? 'unread';
}

/** @returns the tables whose rows could not be looked at. */
export const unreadIn = (picture: Picture): string[] =>
  [...picture].filter((line) => line.endsWith(UNREAD)).map((line) => line.slice(6, -UNREAD.length));

/** @returns what one picture has and the other has not, each with `lost` or `new`; empty when they are the same. */
export function changed(before: Picture, after: Picture): string[] {
  return [
    ...[...before].filter((line) => !after.has(line)).map((line) => `lost: ${line}`),
    ...[...after].filter((line) => !before.has(line)).map((line) => `new: ${line}`),
  ];
}

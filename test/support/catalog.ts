/** Everything a catalog says about the objects of a database, to be compared before and after. */
import { withClient } from './sql.ts';

const PARTS: Readonly<Record<string, string>> = {
  schemas: `
    SELECT nspname, nspowner::regrole::text AS owner, nspacl::text AS acl
    FROM pg_namespace
    WHERE nspname !~ '^pg_(toast|temp)' ORDER BY 1`,
  relations: `
    SELECT c.oid::regclass::text AS name, c.relkind, c.relowner::regrole::text AS owner, c.relacl::text AS acl,
           c.relreplident, c.relpersistence, c.relrowsecurity, c.reloptions::text AS options, c.relispartition
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^(pg_|information_schema)' ORDER BY 1`,
  columns: `
    SELECT a.attrelid::regclass::text AS relation, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
           a.attidentity, a.attgenerated, a.attstorage, a.attacl::text AS acl, pg_get_expr(d.adbin, d.adrelid) AS default
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE n.nspname !~ '^(pg_|information_schema)' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, a.attnum`,
  constraints: `
    SELECT conrelid::regclass::text AS relation, conname, contype, convalidated, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint
    WHERE connamespace::regnamespace::text !~ '^(pg_|information_schema)' ORDER BY 1, 2`,
  indexes: `
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition, indisvalid, indisreplident
    FROM pg_index
    WHERE indrelid >= 16384 ORDER BY 1`,
  sequences: `
    SELECT seqrelid::regclass::text AS name, seqstart, seqincrement, seqmax, seqcache, seqcycle FROM pg_sequence ORDER BY 1`,
  triggers: `
    SELECT tgrelid::regclass::text AS relation, tgname, tgenabled, pg_get_triggerdef(oid) AS definition
    FROM pg_trigger
    WHERE NOT tgisinternal ORDER BY 1, 2`,
  functions: `
    SELECT oid::regprocedure::text AS name, proowner::regrole::text AS owner, proacl::text AS acl, md5(prosrc) AS body
    FROM pg_proc
    WHERE oid >= 16384 ORDER BY 1`,
  types: `
    SELECT t.oid::regtype::text AS name, t.typtype FROM pg_type AS t
    WHERE t.oid >= 16384 AND t.typnamespace::regnamespace::text !~ '^pg_' ORDER BY 1`,
  rules: `SELECT ev_class::regclass::text AS relation, rulename FROM pg_rewrite WHERE oid >= 16384 ORDER BY 1, 2`,
  publications: `SELECT pubname, puballtables FROM pg_publication ORDER BY 1`,
  publishedTables: `SELECT * FROM pg_publication_tables ORDER BY 1, 2, 3`,
  eventTriggers: 'SELECT evtname FROM pg_event_trigger ORDER BY 1',
  extensions: 'SELECT extname, extversion FROM pg_extension ORDER BY 1',
  defaultPrivileges: `
    SELECT defaclrole::regrole::text AS role, defaclobjtype, defaclacl::text AS acl FROM pg_default_acl ORDER BY 1, 2, 3`,
  database:
    'SELECT datacl::text AS acl, datdba::regrole::text AS owner FROM pg_database WHERE datname = current_database()',
  slots: 'SELECT slot_name, plugin FROM pg_replication_slots WHERE database = current_database() ORDER BY 1',
  settings:
    'SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())',
};

export type Catalog = Readonly<Record<string, readonly object[]>>;

/** Reads the whole picture in one snapshot, as a superuser. */
export async function catalogOf(superuserUrl: string): Promise<Catalog> {
  return withClient(superuserUrl, async (client) => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await client.query('SET LOCAL search_path = pg_catalog');
    const catalog: Record<string, object[]> = {};
    for (const [part, sql] of Object.entries(PARTS)) catalog[part] = (await client.query<object>(sql)).rows;
    await client.query('COMMIT');
    return catalog;
  });
}

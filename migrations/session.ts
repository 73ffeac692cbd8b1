import type { Sequelize, Transaction } from 'sequelize';
import { ident, qualified } from '../src/mapping/identifier.ts';

/** Where the application's tables are. */
export interface TableSchemas {
  /** Schema of `user_settings`. */
  readonly source: string;
  /** Schema of role, org, user, org_user and settings. */
  readonly org: string;
}

/** What a migration is handed: one transaction's session, and the names it may use. */
export interface MigrationContext {
  readonly schemas: TableSchemas;
  /** Whether `user_settings` lies in the same database: then 057 also moves rows, and 056 sets a `settings` aside. */
  readonly inPlace: boolean;
  /** How long a statement may wait for the lock on user_settings: what waits for it stalls the writers behind it. */
  readonly lockTimeoutMs?: number | undefined;
  /** Runs one statement in the run's transaction. */
  readonly query: <Row extends object = Record<string, unknown>>(
    sql: string,
    bind?: readonly unknown[],
  ) => Promise<Row[]>;
  /** `"schema"."name"` in the schema of the org model. */
  readonly org: (name: string) => string;
}

/** A migration that cannot be applied as things are; nothing has been changed. */
export class MigrationRefused extends Error {
  override readonly name = 'MigrationRefused';
  readonly expected: string;
  readonly found: string;
  readonly fix: string;

  constructor(message: string, detail: { expected: string; found: string; fix: string }) {
    super(message);
    this.expected = detail.expected;
    this.found = detail.found;
    this.fix = detail.fix;
  }
}

/** One migration: its name is its identity, whatever file it stands in (FIELD-NOTES H). */
export interface Migration {
  readonly name: string;
  up(context: MigrationContext): Promise<void>;
  down(context: MigrationContext): Promise<void>;
}

/** @returns a context whose statements run in `transaction`. */
export function contextOf(
  sequelize: Sequelize,
  transaction: Transaction,
  schemas: TableSchemas,
  inPlace: boolean,
  lockTimeoutMs?: number,
): MigrationContext {
  return {
    schemas,
    inPlace,
    lockTimeoutMs,
    org: (name) => qualified(schemas.org, name),
    query: async <Row extends object>(sql: string, bind?: readonly unknown[]) => {
      const [rows] = await sequelize.query(sql, {
        transaction,
        raw: true,
        ...(bind === undefined ? {} : { bind: [...bind] }),
      });
      return (Array.isArray(rows) ? rows : []) as Row[];
    },
  };
}

const TABLE_OWNER = `
  SELECT pg_get_userbyid(c.relowner) AS owner
  FROM pg_class AS c
  WHERE c.oid = to_regclass($1)`;

const DEFAULT_OWNER = `
  SELECT CASE
    WHEN to_regnamespace($1) IS NOT NULL
         AND NOT (SELECT n.nspowner = 'pg_database_owner'::regrole FROM pg_namespace AS n WHERE n.oid = to_regnamespace($1))
         AND pg_has_role(coalesce($2::name, current_user), (SELECT n.nspowner FROM pg_namespace AS n WHERE n.oid = to_regnamespace($1)), 'member')
      THEN (SELECT pg_get_userbyid(n.nspowner) FROM pg_namespace AS n WHERE n.oid = to_regnamespace($1))
    WHEN pg_has_role(coalesce($2::name, current_user), d.datdba, 'member') THEN pg_get_userbyid(d.datdba)
    ELSE coalesce($2::name, current_user)::text
  END AS owner
  FROM pg_database AS d
  WHERE d.datname = current_database()`;

/** Anything that runs a statement with `$1` parameters: a client of the driver, or a migration's own session. */
export type RunQuery = <Row extends object>(sql: string, bind: readonly unknown[]) => Promise<Row[]>;

/**
 * The role that owns, or is to own, the application's tables in this database: the owner of `table` where it exists;
 * else of the schema, else of the database, as far as we are a member; else ourselves.
 * @param login who "we" are, where that is not the session's own role.
 */
export async function tablesOwner(
  query: RunQuery,
  schema: string,
  table: string,
  login?: string,
): Promise<string> {
  const [existing] = await query<{ owner: string }>(TABLE_OWNER, [qualified(schema, table)]);
  if (existing) return existing.owner;
  const [fallback] = await query<{ owner: string }>(DEFAULT_OWNER, [ident(schema), login ?? null]);
  if (!fallback) throw new Error('the server named no owner');
  return fallback.owner;
}

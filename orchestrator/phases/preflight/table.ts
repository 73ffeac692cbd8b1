import type { ClientBase } from 'pg';
import { type Finding, type SideFacts, stop, warn } from './finding.ts';

const SHAPE = `
  SELECT c.relkind::text AS kind,
         c.relpersistence::text AS persistence,
         c.relrowsecurity OR c.relforcerowsecurity AS row_security,
         (SELECT r.rolbypassrls OR r.rolsuper FROM pg_roles AS r WHERE r.rolname = session_user) AS bypass,
         EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid) AS is_child,
         EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = c.oid) AS is_parent,
         EXISTS (SELECT FROM pg_subscription_rel AS s WHERE s.srrelid = c.oid) AS subscribed,
         (SELECT string_agg(t.tgname, ', ' ORDER BY t.tgname) FROM pg_trigger AS t
          WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname <> 'orchestrate_fence') AS triggers,
         (SELECT string_agg(w.rulename, ', ' ORDER BY w.rulename) FROM pg_rewrite AS w
          WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN') AS rules,
         (SELECT string_agg(k.conname, ', ' ORDER BY k.conname) FROM pg_constraint AS k
          WHERE k.contype = 'f' AND (k.conrelid = c.oid OR k.confrelid = c.oid)
            AND NOT (k.connamespace = c.relnamespace AND k.conname = ANY ($2))) AS foreign_keys
  FROM pg_class AS c
  WHERE c.oid = to_regclass($1)`;

interface ShapeRow {
  readonly kind: string;
  readonly persistence: string;
  readonly row_security: boolean;
  readonly bypass: boolean;
  readonly is_child: boolean;
  readonly is_parent: boolean;
  readonly subscribed: boolean;
  readonly triggers: string | null;
  readonly rules: string | null;
  readonly foreign_keys: string | null;
}

const KINDS: Readonly<Record<string, string>> = {
  p: 'a partitioned table',
  f: 'a foreign table',
  v: 'a view',
  m: 'a materialised view',
};

/**
 * One application table, by its quoted, qualified name: that a statement trigger on it sees every writer, and that
 * what is read from it is all of it.
 * @param ownForeignKeys names of foreign keys that belong to the model itself.
 * @returns null when there is no such relation.
 */
export async function checkTable(
  client: ClientBase,
  facts: SideFacts,
  table: string,
  ownForeignKeys: readonly string[] = [],
): Promise<Finding[] | null> {
  const { rows } = await client.query<ShapeRow>(SHAPE, [table, ownForeignKeys]);
  const t = rows[0];
  return t ? [...refusals(t, facts, table), ...warnings(t, facts, table)] : null;
}

function refusals(t: ShapeRow, facts: SideFacts, table: string): Finding[] {
  const { side } = facts;
  const findings: Finding[] = [];
  if (t.kind !== 'r')
    findings.push(
      stop('table-kind', side, {
        expected: `${table} is an ordinary table`,
        found: KINDS[t.kind] ?? `a relation of kind ${t.kind}`,
        fix: `put the rows into one ordinary table: CREATE TABLE … (LIKE ${table} INCLUDING ALL)`,
      }),
    );
  // A child is written through its parent, and no statement trigger of its own fires (HISTORIES 17).
  if (t.is_child || t.is_parent)
    findings.push(
      stop('inheritance', side, {
        expected: `${table} has neither parents nor children`,
        found: t.is_child ? 'it inherits from another table' : 'other tables inherit from it',
        fix: t.is_child ? `ALTER TABLE ${table} NO INHERIT …` : `ALTER TABLE … NO INHERIT ${table}`,
      }),
    );
  if (t.persistence !== 'p')
    findings.push(
      stop('persistence', side, {
        expected: `${table} is logged`,
        found: t.persistence === 'u' ? 'UNLOGGED: nothing of it is in the WAL' : 'TEMPORARY',
        fix: `ALTER TABLE ${table} SET LOGGED`,
      }),
    );
  if (t.row_security && !t.bypass)
    findings.push(
      stop('row-security', side, {
        expected: `${facts.login} sees every row of ${table}`,
        found: 'row level security is on, and the login has no BYPASSRLS',
        fix: `ALTER ROLE "${facts.login}" BYPASSRLS; or ALTER TABLE ${table} DISABLE ROW LEVEL SECURITY`,
      }),
    );
  if (t.subscribed)
    findings.push(
      stop('subscription', side, {
        expected: `${table} is not the target of a subscription`,
        found: 'a subscription writes it: apply workers pass statement triggers',
        fix: 'SELECT subname FROM pg_subscription; ALTER SUBSCRIPTION … DROP PUBLICATION …',
      }),
    );
  return findings;
}

function warnings(t: ShapeRow, facts: SideFacts, table: string): Finding[] {
  const { side } = facts;
  const findings: Finding[] = [];
  const note = (check: string, expected: string, found: string | null, fix: string) => {
    if (found) findings.push(warn(check, side, { expected, found, fix }));
  };
  note(
    'triggers',
    `no trigger on ${table}: it also fires for what sync writes`,
    t.triggers,
    `ALTER TABLE ${table} DISABLE TRIGGER …, or make sure that it does no harm on a standby`,
  );
  note('rules', `no rule on ${table}`, t.rules, `DROP RULE … ON ${table}`);
  note(
    'foreign-keys',
    `no foreign key of others from or to ${table}`,
    t.foreign_keys,
    'check that rows can be deleted and inserted in any order: ALTER TABLE … DROP CONSTRAINT …',
  );
  return findings;
}

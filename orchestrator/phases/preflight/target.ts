import type { ClientBase } from 'pg';
import { ORG_TABLES } from '../../../migrations/056-create-org-tables.ts';
import { migrationStatus } from '../../../migrations/migrator.ts';
import type { TableSchemas } from '../../../migrations/session.ts';
import { qualified } from '../../../src/mapping/identifier.ts';
import { type Finding, type SideFacts, stop } from './finding.ts';
import { checkTable } from './table.ts';

const OWN_FOREIGN_KEYS = [
  'user_role_id_fkey',
  'org_user_org_id_fkey',
  'org_user_user_id_fkey',
  'org_user_role_id_fkey',
  'settings_org_id_fkey',
  'settings_user_id_fkey',
];

const COLUMNS_OF = `
  SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attname) AS columns
  FROM pg_attribute AS a
  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped`;

/**
 * The org model on green before a run: either nothing of it, or all of it from our own migrations, and empty.
 * @returns findings; none when prepare may make or use the tables.
 */
export async function checkTarget(
  client: ClientBase,
  facts: SideFacts,
  schemas: TableSchemas,
): Promise<Finding[]> {
  const status = await migrationStatus(
    async <Row extends object>(sql: string, bind: readonly unknown[]) =>
      (await client.query(sql, [...bind])).rows as Row[],
    schemas,
  );
  const made = status[0]?.appliedAt !== null;
  const findings: Finding[] = [];
  for (const name of ORG_TABLES) {
    const table = qualified(schemas.org, name);
    const shape = await checkTable(client, facts, table, OWN_FOREIGN_KEYS);
    if (shape === null && made)
      findings.push(
        stop('target-missing', facts.side, {
          expected: `table ${table}, which migration 056 has made`,
          found: 'none',
          fix: 'orchestrate migrate down --to 055, then orchestrate run',
        }),
      );
    if (shape === null) continue;
    findings.push(...shape, ...(await checkIdentity(client, facts, table)));
    if (!made) findings.push(await notOurs(client, facts, table));
    else if (name !== 'role') findings.push(...(await checkEmpty(client, facts, table)));
  }
  return findings;
}

async function notOurs(client: ClientBase, facts: SideFacts, table: string): Promise<Finding> {
  const { rows } = await client.query<{ columns: string }>(COLUMNS_OF, [table]);
  return stop('target-taken', facts.side, {
    expected: `no table ${table}, or the one of migration 056 with its record`,
    found: `a table that is not ours (${rows[0]?.columns ?? ''})`,
    fix: `ALTER TABLE ${table} RENAME TO …; or another schema with --org-schema, or another green database`,
  });
}

const BY_INDEX = `
  SELECT c.relreplident = 'i' AS by_index
  FROM pg_class AS c
  WHERE c.oid = to_regclass($1)`;

/** The copy takes indexes away for a while, and an identity that hangs on one would not come back with it. */
async function checkIdentity(client: ClientBase, facts: SideFacts, table: string): Promise<Finding[]> {
  const { rows } = await client.query<{ by_index: boolean }>(BY_INDEX, [table]);
  if (!rows[0]?.by_index) return [];
  return [
    stop('replica-identity', facts.side, {
      expected: `${table} with REPLICA IDENTITY DEFAULT, FULL or NOTHING`,
      found: 'REPLICA IDENTITY USING INDEX',
      fix: `ALTER TABLE ${table} REPLICA IDENTITY DEFAULT`,
    }),
  ];
}

async function checkEmpty(client: ClientBase, facts: SideFacts, table: string): Promise<Finding[]> {
  let filled: boolean;
  try {
    const { rows } = await client.query<{ filled: boolean }>(
      `SELECT EXISTS (SELECT FROM ${table}) AS filled`,
    );
    filled = rows[0]?.filled === true;
  } catch {
    return []; // No right to read it: that is a finding of its own.
  }
  if (!filled) return [];
  return [
    stop('target-rows', facts.side, {
      expected: `${table} is empty`,
      found: 'rows that this migration did not write',
      fix: `keep them elsewhere, then empty it: TRUNCATE ${table} CASCADE; or choose another green database`,
    }),
  ];
}

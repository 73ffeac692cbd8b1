import type { ClientBase } from 'pg';
import { SOURCE_COLUMNS, SOURCE_TABLE, type SourceColumn } from '../../../src/mapping/columns.ts';
import { ident, qualified } from '../../../src/mapping/identifier.ts';
import { type Finding, type SideFacts, stop, warn } from './finding.ts';
import { checkTable } from './table.ts';

const COLUMNS = `
  SELECT a.attname::text AS name,
         format_type(a.atttypid, a.atttypmod) AS type,
         a.attnotnull AS not_null,
         a.attgenerated <> '' AS generated
  FROM pg_attribute AS a
  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
  ORDER BY a.attnum`;

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly not_null: boolean;
  readonly generated: boolean;
}

const KEYS = `
  SELECT (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum)
          FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
          WHERE i.indrelid = c.oid AND i.indisprimary) AS primary_key,
         c.relreplident::text AS identity,
         (SELECT i.indisprimary FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisreplident) AS identity_is_primary
  FROM pg_class AS c
  WHERE c.oid = to_regclass($1)`;

/** `user_settings` on blue: that it is a plain table of ours to read, with the columns the mapping knows and no other. */
export async function checkSource(client: ClientBase, facts: SideFacts, schema: string): Promise<Finding[]> {
  const table = qualified(schema, SOURCE_TABLE);
  const shape = await checkTable(client, facts, table);
  if (shape === null)
    return [
      stop('source', facts.side, {
        expected: `table ${table}`,
        found: 'none',
        fix: 'point --blue-url at the database of the old application, or name its schema with --source-schema',
      }),
    ];
  const { rows: columns } = await client.query<ColumnRow>(COLUMNS, [table]);
  return [...shape, ...checkColumns(columns, facts, table), ...(await checkKeys(client, facts, table))];
}

function checkColumns(found: readonly ColumnRow[], facts: SideFacts, table: string): Finding[] {
  const { side } = facts;
  const findings: Finding[] = [];
  for (const c of found.filter((f) => !SOURCE_COLUMNS.some((s) => s.name === f.name)))
    findings.push(
      stop('unknown-column', side, {
        expected: `the ${SOURCE_COLUMNS.length} columns of ${table} that the mapping declares`,
        found: `column ${c.name} ${c.type}, which it does not know`,
        fix: `add one line to src/mapping/columns.ts: column('${c.name}', '${c.type}', 'settings'); or ALTER TABLE ${table} DROP COLUMN ${ident(c.name)}`,
      }),
    );
  for (const declared of SOURCE_COLUMNS) {
    const c = found.find((f) => f.name === declared.name);
    findings.push(...(c ? checkColumn(declared, c, facts, table) : [missing(declared, facts, table)]));
  }
  return findings;
}

function missing(declared: SourceColumn, facts: SideFacts, table: string): Finding {
  return stop('missing-column', facts.side, {
    expected: `column ${declared.name} ${declared.type} of ${table}`,
    found: 'no such column',
    fix: `ALTER TABLE ${table} ADD COLUMN ${ident(declared.name)} ${declared.type}; or remove its line from src/mapping/columns.ts`,
  });
}

function checkColumn(declared: SourceColumn, c: ColumnRow, facts: SideFacts, table: string): Finding[] {
  const column = `ALTER TABLE ${table} ALTER COLUMN ${ident(c.name)}`;
  if (c.type !== declared.type)
    return [
      stop('column-type', facts.side, {
        expected: `${c.name} ${declared.type}`,
        found: `${c.name} ${c.type}`,
        fix: `${column} TYPE ${declared.type} USING ${ident(c.name)}::${declared.type}; or change its line in src/mapping/columns.ts`,
      }),
    ];
  if (c.generated)
    return [
      stop('generated-column', facts.side, {
        expected: `${c.name} is an ordinary column`,
        found: 'a generated column: it is not replicated',
        fix: `${column} DROP EXPRESSION`,
      }),
    ];
  if (declared.notNull && !c.not_null)
    return [
      stop('column-null', facts.side, {
        expected: `${c.name} NOT NULL, as on green`,
        found: 'a column that takes NULL',
        fix: `UPDATE ${table} SET ${ident(c.name)} = ${declared.default ?? '…'} WHERE ${ident(c.name)} IS NULL; ${column} SET NOT NULL`,
      }),
    ];
  if (!declared.notNull && c.not_null)
    return [
      warn('column-null', facts.side, {
        expected: `${c.name} takes NULL, as on green`,
        found: 'NOT NULL: a NULL written on green would stop the way back',
        fix: `${column} DROP NOT NULL`,
      }),
    ];
  return [];
}

async function checkKeys(client: ClientBase, facts: SideFacts, table: string): Promise<Finding[]> {
  const { rows } = await client.query<{
    primary_key: string | null;
    identity: string;
    identity_is_primary: boolean | null;
  }>(KEYS, [table]);
  const key = rows[0];
  const findings: Finding[] = [];
  if (key?.primary_key !== 'id')
    findings.push(
      stop('primary-key', facts.side, {
        expected: `a primary key on ${table} (id)`,
        found: key?.primary_key ? `a primary key on (${key.primary_key})` : 'no primary key',
        fix: `ALTER TABLE ${table} ADD PRIMARY KEY (id)`,
      }),
    );
  // Published without a usable identity, every UPDATE and DELETE of the application would fail (FIELD-NOTES K8).
  if (key?.identity === 'n' || (key?.identity === 'i' && key.identity_is_primary !== true))
    findings.push(
      stop('replica-identity', facts.side, {
        expected: 'REPLICA IDENTITY DEFAULT (the primary key) or FULL',
        found: key.identity === 'n' ? 'NOTHING' : 'another index',
        fix: `ALTER TABLE ${table} REPLICA IDENTITY DEFAULT`,
      }),
    );
  return findings;
}

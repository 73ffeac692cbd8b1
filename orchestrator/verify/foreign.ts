import type { ClientBase } from 'pg';
import { columnsOf } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import type { Hash } from './hash.ts';
import type { Mismatch } from './mismatch.ts';

/** Rows that are remembered; of more, those with the lowest keys. */
const MOST = 2_000;

/** Rows of green that are not ours, by `table key`: a hash of every column, and one of the row's text. */
export type ForeignRows = Readonly<
  Record<string, { readonly columns: readonly (string | null)[]; readonly text: string }>
>;

interface ForeignRow {
  readonly name: string;
  readonly columns: readonly (string | null)[];
  readonly text: string;
}

type ForeignTable = 'role' | 'org' | 'org_user' | 'settings';

/** The columns that are told apart; of others only that the row differs is known. */
const COLUMNS: Readonly<Record<ForeignTable, readonly string[]>> = {
  role: ['id', 'name', 'rank'],
  org: ['id', 'name', 'contact_name', 'contact_email', 'conversation_expiration'],
  org_user: ['org_id', 'user_id', 'role_id', 'status'],
  settings: ['id', 'org_id', 'user_id', ...columnsOf('settings').map((c) => c.as)],
};

/** Hashes in the order of COLUMNS, and that of the whole row as `kept` has it. Nothing is parsed as json here. */
const hashed = (hash: Hash, table: ForeignTable) => `
           ARRAY[${COLUMNS[table]
             .map((name) => `(${hash.ofValue({ sql: `x.${ident(name)}`, type: 'text' })})::text`)
             .join(', ')}]::text[] AS columns,
           (${hash.ofValue({ sql: 'x.*', type: 'record' })})::text AS text`;

/**
 * The rows of a table that belong to no user (I8), and all roles. The link says whose an organisation and a settings
 * row are; without one they carry the user's id.
 */
const foreignSql = (r: Relations, hash: Hash) => `
  WITH own AS MATERIALIZED (
    SELECT u."id" AS k,
           CASE WHEN l.k IS NULL THEN u."id" ELSE l.org_id END AS org_id,
           CASE WHEN l.k IS NULL THEN u."id" ELSE l.settings_id END AS settings_id
    FROM ${r.user} AS u
    LEFT JOIN ${r.link} AS l ON l.k = u."id"
  )
  (SELECT 'role ' || x."id" AS name, ${hashed(hash, 'role')}
   FROM ${r.role} AS x
   ORDER BY x."id" LIMIT ${MOST})
  UNION ALL
  (SELECT 'org ' || x."id", ${hashed(hash, 'org')}
   FROM ${r.org} AS x
   WHERE NOT EXISTS (SELECT FROM own WHERE own.org_id = x."id")
   ORDER BY x."id" LIMIT ${MOST})
  UNION ALL
  (SELECT 'settings ' || x."id", ${hashed(hash, 'settings')}
   FROM ${r.settings} AS x
   WHERE NOT EXISTS (SELECT FROM own WHERE own.settings_id = x."id")
   ORDER BY x."id" LIMIT ${MOST})
  UNION ALL
  (SELECT 'org_user ' || x."user_id" || ' ' || x."org_id", ${hashed(hash, 'org_user')}
   FROM ${r.orgUser} AS x
   WHERE NOT EXISTS (SELECT FROM own WHERE own.k = x."user_id" AND own.org_id = x."org_id")
   ORDER BY x."user_id", x."org_id" LIMIT ${MOST})`;

/** The remembered rows as they are now, whosever they have become. */
const namedSql = (r: Relations, hash: Hash) => `
  WITH named AS (
    SELECT split_part(n, ' ', 1) AS "table", split_part(n, ' ', 2)::integer AS key,
           nullif(split_part(n, ' ', 3), '')::integer AS second
    FROM unnest($1::text[]) AS t(n)
  )
  SELECT 'role ' || x."id" AS name, ${hashed(hash, 'role')}
  FROM named AS n JOIN ${r.role} AS x ON n."table" = 'role' AND x."id" = n.key
  UNION ALL
  SELECT 'org ' || x."id", ${hashed(hash, 'org')}
  FROM named AS n JOIN ${r.org} AS x ON n."table" = 'org' AND x."id" = n.key
  UNION ALL
  SELECT 'settings ' || x."id", ${hashed(hash, 'settings')}
  FROM named AS n JOIN ${r.settings} AS x ON n."table" = 'settings' AND x."id" = n.key
  UNION ALL
  SELECT 'org_user ' || x."user_id" || ' ' || x."org_id", ${hashed(hash, 'org_user')}
  FROM named AS n JOIN ${r.orgUser} AS x ON n."table" = 'org_user' AND x."user_id" = n.key AND x."org_id" = n.second`;

const keptSql = (hash: Hash) => `
  SELECT table_name || ' ' || (${hash.ofValue({ sql: 'row_text', type: 'text' })})::text AS row
  FROM orchestrator.kept
  WHERE table_name || ' ' || (${hash.ofValue({ sql: 'row_text', type: 'text' })})::text = ANY ($1::text[])`;

const BASELINE = `
  SELECT result -> 'foreign' AS rows, result ->> 'foreign_hash' AS hash
  FROM orchestrator.sweep
  WHERE generation = $1 AND result ? 'foreign'
  ORDER BY id DESC
  LIMIT 1`;

export interface ForeignComparison {
  readonly mismatches: readonly Mismatch[];
  /** What the next sweep of this generation compares with: the first picture, as long as something differs. */
  readonly baseline: ForeignRows;
}

/**
 * Compares the rows that are not ours with those of the generation's earlier sweep, while blue serves: nobody writes
 * to green then but us, and we may only move such rows, whole, to `orchestrator.kept` (I8).
 * @param green reads the sweep's picture.
 */
export async function compareForeign(
  green: ClientBase,
  r: Relations,
  hash: Hash,
  generation: bigint,
): Promise<ForeignComparison> {
  const { rows } = await green.query<{ rows: ForeignRows; hash: string }>(BASELINE, [generation.toString()]);
  const now = async () => byName((await green.query<ForeignRow>(foreignSql(r, hash))).rows);
  // The two hashes know nothing of each other's rows.
  if (rows[0] === undefined || rows[0].hash !== hash.name) return { mismatches: [], baseline: await now() };
  const before = rows[0].rows;
  const found = byName((await green.query<ForeignRow>(namedSql(r, hash), [Object.keys(before)])).rows);
  const gone = Object.keys(before).filter((name) => found[name] === undefined);
  const textOf = (name: string) => `${name.split(' ')[0]} ${before[name]?.text}`;
  const kept = await green.query<{ row: string }>(keptSql(hash), [gone.map(textOf)]);
  const moved = new Set(kept.rows.map((row) => row.row));
  const mismatches = foreignMismatches(
    before,
    found,
    gone.filter((name) => moved.has(textOf(name))),
  );
  return { mismatches, baseline: mismatches.length > 0 ? before : await now() };
}

function byName(rows: readonly ForeignRow[]): ForeignRows {
  return Object.fromEntries(rows.map(({ name, columns, text }) => [name, { columns, text }]));
}

/** Pure: what differs from before; `moved` are rows that were put away whole. */
export function foreignMismatches(
  before: ForeignRows,
  now: ForeignRows,
  moved: readonly string[],
): Mismatch[] {
  return Object.entries(before).flatMap(([name, row]): Mismatch[] => {
    const [table, key] = name.split(' ') as [ForeignTable, string];
    const after = now[name];
    if (after === undefined)
      return moved.includes(name) ? [] : [{ table, key: Number(key), kind: 'missing', columns: [] }];
    const columns = COLUMNS[table].filter((_, i) => row.columns[i] !== after.columns[i]);
    return row.text === after.text ? [] : [{ table, key: Number(key), kind: 'different', columns }];
  });
}

/** After a repair: rows that are not ours have no source to be derived from; what is there now counts. */
export const FORGET_BASELINE = `
  UPDATE orchestrator.sweep
  SET result = result - 'foreign'
  WHERE generation = $1 AND result ? 'foreign'`;

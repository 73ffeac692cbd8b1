import type { RunQuery } from '../../../migrations/session.ts';
import { KEY_COLUMN, SOURCE_COLUMNS, SOURCE_TABLE } from '../../../src/mapping/columns.ts';
import { ident, qualified } from '../../../src/mapping/identifier.ts';
import type { Schemas } from '../../state/names.ts';

/** An index that would be worth its cost, and why. */
export interface IndexAdvice {
  readonly statement: string;
  readonly why: string;
}

/** Indexes of the old table over plain columns, and how often the application has used them since statistics began. */
const USED = `
  SELECT i.indexrelid::regclass::text AS name, coalesce(s.idx_scan, 0)::text AS scans, i.indpred IS NOT NULL AS partial,
         ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
               ORDER BY k.place) AS columns
  FROM pg_catalog.pg_index AS i
  LEFT JOIN pg_catalog.pg_stat_user_indexes AS s ON s.indexrelid = i.indexrelid
  WHERE i.indrelid = $1::regclass AND i.indexprs IS NULL AND i.indisvalid
  ORDER BY i.indexrelid`;

interface Used {
  readonly name: string;
  readonly scans: string;
  readonly partial: boolean;
  readonly columns: readonly string[];
}

/** What the new tables have anyway. */
const PRESENT = ['user.keycloak_user_id', 'user.id', 'settings.id'];

/**
 * Judged by usage: what the application has read through an index of the old table, it will want to read through one
 * in the new home of the same columns. An index that was never used is not worth its writes there either.
 */
export async function adviseIndexes(query: RunQuery, schemas: Schemas): Promise<IndexAdvice[]> {
  const source = qualified(schemas.source, SOURCE_TABLE);
  const used = await query<Used>(USED, [source]);
  const advice: IndexAdvice[] = [];
  if (!used.some((index) => !index.partial && index.columns[0] === KEY_COLUMN))
    advice.push({
      statement: `CREATE INDEX CONCURRENTLY ON ${source} (${ident(KEY_COLUMN)})`,
      why: 'before 057: what is written meanwhile is looked up by key, and so does the application',
    });
  for (const { name, scans, columns } of used) {
    const home = homeOf(columns);
    if (scans === '0' || home === null || PRESENT.includes(`${home.table}.${home.columns[0]}`)) continue;
    advice.push({
      statement: `CREATE INDEX CONCURRENTLY ON ${qualified(schemas.org, home.table)} (${home.columns.map(ident).join(', ')})`,
      why: `after 057: ${name} was used ${scans} times, and its columns live there then`,
    });
  }
  return advice;
}

/** The one table in which all these columns have their home; null where they part, or one is not mapped. */
function homeOf(
  columns: readonly string[],
): { readonly table: 'user' | 'settings'; readonly columns: readonly string[] } | null {
  const mapped = columns.map((name) => SOURCE_COLUMNS.find((c) => c.name === name));
  const table = mapped[0]?.home;
  if (table === undefined || table === 'key' || mapped.some((c) => c?.home !== table)) return null;
  return { table, columns: mapped.flatMap((c) => c?.as ?? []) };
}

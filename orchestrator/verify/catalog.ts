import type { ClientBase } from 'pg';
import { FENCE_NAME } from '../fence/fence.ts';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { tablesOf } from '../state/names.ts';

/** What of a table's definition decides whether its rows can have changed without a word in the stream. */
export interface TableDigest {
  readonly table: string;
  readonly oid: string;
  /** Another file: the table was rewritten (ALTER TYPE … USING, VACUUM FULL, CLUSTER, TRUNCATE). */
  readonly filenode: string | null;
  /** `number name type null default`, a line a column, by attribute number. */
  readonly columns: readonly string[];
  /** Triggers and rules of others, with what they do and whether they fire. */
  readonly triggers: readonly string[];
  readonly replicaIdentity: string;
}

export type CatalogDigest = readonly TableDigest[];

/**
 * One row a table that exists. Dropping a column and adding one of the same name empties it without a rewrite: the
 * attribute number shows that. Our own fence is left out: it changes with every handover.
 */
const DIGEST = `
  SELECT w.name AS "table",
         c.oid::text AS oid,
         pg_relation_filenode(c.oid)::text AS filenode,
         c.relreplident::text AS "replicaIdentity",
         ARRAY(
           SELECT concat_ws(' ', a.attnum, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                            CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END,
                            'collate ' || nullif(a.attcollation, 0)::regcollation::text,
                            nullif(a.attidentity::text, ''), nullif(a.attgenerated::text, ''),
                            pg_get_expr(d.adbin, d.adrelid))
           FROM pg_attribute AS a
           LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           ORDER BY a.attnum) AS columns,
         ARRAY(
           SELECT t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid)
           FROM pg_trigger AS t
           WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname <> '${FENCE_NAME}'
           UNION ALL
           SELECT r.ev_enabled::text || ' ' || pg_get_ruledef(r.oid)
           FROM pg_rewrite AS r
           WHERE r.ev_class = c.oid AND c.relkind IN ('r', 'p')
           ORDER BY 1) AS triggers
  FROM unnest($1::text[], $2::text[]) AS w(schema, name)
  JOIN pg_namespace AS n ON n.nspname = w.schema
  JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name
  ORDER BY w.name`;

/** Reads the digest of a side's application tables; a table that does not exist is not in it. */
export async function catalogDigest(
  client: ClientBase,
  ctx: Pick<Context, 'schemas'>,
  side: Side,
): Promise<CatalogDigest> {
  const tables = tablesOf(side, ctx.schemas);
  const { rows } = await client.query<TableDigest>(DIGEST, [
    tables.map((t) => t.schema),
    tables.map((t) => t.name),
  ]);
  return rows;
}

export interface CatalogChange {
  readonly table: string;
  readonly what:
    | 'dropped'
    | 'created'
    | 'recreated'
    | 'columns'
    | 'rewritten'
    | 'triggers'
    | 'replica identity';
  /** Names and types only. */
  readonly detail: string;
}

/**
 * Says what changed between two digests of the same side. A rewrite alone need not have changed a row (VACUUM FULL
 * does not), but nothing in the stream would say so: it voids the sweep (HISTORIES 6).
 */
export function compareCatalog(before: CatalogDigest, after: CatalogDigest): CatalogChange[] {
  const changes: CatalogChange[] = [];
  const later = new Map(after.map((t) => [t.table, t]));
  for (const a of before) {
    const b = later.get(a.table);
    later.delete(a.table);
    if (b === undefined) {
      changes.push({ table: a.table, what: 'dropped', detail: 'it is gone' });
      continue;
    }
    const say = (what: CatalogChange['what'], detail: string) =>
      changes.push({ table: a.table, what, detail });
    const columns = lists(a.columns, b.columns);
    if (columns !== '') say('columns', columns);
    if (a.oid !== b.oid) say('recreated', 'another table of the same name');
    else if (a.filenode !== b.filenode) say('rewritten', 'its rows lie in another file');
    const triggers = lists(a.triggers, b.triggers);
    if (triggers !== '') say('triggers', triggers);
    // Full is what we set on green for the way back, after its first clean sweep; it says more, never less.
    if (a.replicaIdentity !== b.replicaIdentity && b.replicaIdentity !== 'f')
      say('replica identity', `${a.replicaIdentity} became ${b.replicaIdentity}`);
  }
  for (const table of later.keys()) changes.push({ table, what: 'created', detail: 'it was not there' });
  return changes;
}

function lists(before: readonly string[], after: readonly string[]): string {
  const gone = before.filter((line) => !after.includes(line)).map((line) => `− ${line}`);
  const come = after.filter((line) => !before.includes(line)).map((line) => `+ ${line}`);
  return [...gone, ...come].join('; ');
}

/** @returns the changes as the operator reads them, one line each. */
export function describeChanges(side: Side, changes: readonly CatalogChange[]): string[] {
  return changes.map((c) => `${side} ${c.table} ${c.what}: ${c.detail}`);
}

import type { ClientBase } from 'pg';
import { KEY_COLUMN } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import {
  forwardList,
  inverseQuery,
  PARK_REASON,
  relationOf,
  SOURCE_NAMES,
  targetNames,
} from '../../src/mapping/sql.ts';
import { TARGETS } from '../../src/mapping/target.ts';
import type { Context } from '../state/context.ts';

/** How the set-based pass has changed who is mapped. */
export interface Recomputed {
  /** Users that shared their key with a lower id and were parked. */
  readonly parked: number;
  /** Parked rows whose key nobody held and that became users. */
  readonly promoted: number;
}

const key = ident(KEY_COLUMN);

/**
 * Of users that share a key the lowest id keeps it; these are the others, as one array in text. The digest only narrows
 * the search down: sorting numbers is cheaper than hashing or sorting texts. Who shares a key is decided by the key.
 */
const LOSERS = (ctx: Context): string => `
  WITH suspect AS MATERIALIZED (
    SELECT hashtextextended(u.${key}, 0) AS digest
    FROM ${ctx.relations.user} AS u
    GROUP BY 1
    HAVING count(*) > 1
  )
  SELECT array_agg(r.id)::text AS ids, count(*)::integer AS n
  FROM (
    SELECT u."id" AS id, row_number() OVER (PARTITION BY u.${key} ORDER BY u."id") AS place
    FROM ${ctx.relations.user} AS u
    WHERE hashtextextended(u.${key}, 0) IN (SELECT digest FROM suspect)
  ) AS r
  WHERE r.place > 1`;

/** Parks users whole and takes their rows of the org model away; all of it reads the state before the statement. */
const parkLosers = (ctx: Context): string => `
  WITH loser AS MATERIALIZED (
    SELECT unnest($1::integer[]) AS id
  ), parked AS (
    INSERT INTO ${ctx.relations.parked} (${SOURCE_NAMES}, "reason")
    SELECT image.*, 'duplicate'
    FROM (${inverseQuery(ctx.relations, 'u."id" IN (SELECT id FROM loser)')}) AS image
  ), settings_gone AS (
    DELETE FROM ${ctx.relations.settings} AS t USING loser AS l WHERE t."id" = l.id
  ), org_user_gone AS (
    DELETE FROM ${ctx.relations.orgUser} AS t USING loser AS l WHERE t."org_id" = l.id AND t."user_id" = l.id
  ), user_gone AS (
    DELETE FROM ${ctx.relations.user} AS t USING loser AS l WHERE t."id" = l.id
  )
  DELETE FROM ${ctx.relations.org} AS t USING loser AS l WHERE t."id" = l.id`;

/** Parked rows with a key that no user holds: the lowest id of each key is its heir. */
const HEIRS = (ctx: Context): string => `
  SELECT min(p."id")::text AS id
  FROM ${ctx.relations.parked} AS p
  WHERE p.${key} <> ''
    AND NOT EXISTS (SELECT FROM ${ctx.relations.user} AS u WHERE u.${key} = p.${key})
  GROUP BY p.${key}`;

/** Reasons follow from the rows; one that a change has made untrue is set right. */
const settleReasons = (ctx: Context): string => `
  UPDATE ${ctx.relations.parked} AS us
  SET "reason" = ${PARK_REASON}
  WHERE us."reason" <> ${PARK_REASON}`;

/**
 * Decides for every key who is mapped and who is parked, in the caller's transaction (DESIGN 5.2, HISTORIES 4).
 *
 * Chunks may come from different snapshots, and changes in between have met a half-filled table: no rule that looks
 * at one row at a time is exact there. This looks at all of them, once, when the newest snapshot is passed.
 * @param keys `unique` where a constraint that is there proves that no two users share a key; default `shared`: they may.
 */
export async function recompute(
  client: ClientBase,
  ctx: Context,
  keys: 'shared' | 'unique' = 'shared',
): Promise<Recomputed> {
  const parked = keys === 'unique' ? 0 : await parkDuplicates(client, ctx);
  const { rows: heirs } = await client.query<{ id: string }>(HEIRS(ctx));
  if (heirs.length > 0)
    await promote(
      client,
      ctx,
      heirs.map((h) => h.id),
    );
  await client.query(settleReasons(ctx));
  return { parked, promoted: heirs.length };
}

/** @returns how many users were parked, because one with a lower id has their key. */
async function parkDuplicates(client: ClientBase, ctx: Context): Promise<number> {
  await client.query('SET LOCAL enable_hashagg = off');
  const { rows } = await client.query<{ ids: string | null; n: number }>(LOSERS(ctx));
  await client.query('RESET enable_hashagg');
  // A statement that might delete locks the tables even if it does not: indexes are being built on them meanwhile.
  const ids = rows[0]?.ids ?? null;
  if (ids !== null) await client.query(parkLosers(ctx), [ids]);
  return rows[0]?.n ?? 0;
}

/** The guess of ANALYZE, which writes exactly -1 when it has met no value twice in its sample. */
const DISTINCT = `
  SELECT s.n_distinct = -1 AS distinct
  FROM pg_stats AS s
  JOIN pg_namespace AS n ON n.nspname = s.schemaname
  JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = s.tablename
  WHERE c.oid = $1::regclass AND s.attname = $2 AND NOT s.inherited`;

/** @returns whether the statistics of green's users, which may be wrong, have seen no key twice. */
export async function looksDistinct(client: ClientBase, ctx: Context): Promise<boolean> {
  const { rows } = await client.query<{ distinct: boolean }>(DISTINCT, [ctx.relations.user, KEY_COLUMN]);
  return rows[0]?.distinct === true;
}

async function promote(client: ClientBase, ctx: Context, ids: readonly string[]): Promise<void> {
  for (const t of TARGETS)
    await client.query(
      `INSERT INTO ${relationOf(ctx.relations, t.table)} (${targetNames(t)})
       SELECT ${forwardList(t)}
       FROM ${ctx.relations.parked} AS us
       WHERE us."id" = ANY ($1::integer[])`,
      [ids],
    );
  await client.query(
    `DELETE FROM ${ctx.relations.parked} AS us
     WHERE us."id" = ANY ($1::integer[])`,
    [ids],
  );
}

const DONE = `
  SELECT
  FROM orchestrator.chunk
  WHERE task = 'recompute'`;

/** @returns whether the pass has been committed: from then on the full rules hold and nothing is caught up blindly. */
export async function isRecomputed(client: ClientBase): Promise<boolean> {
  return (await client.query(DONE)).rowCount === 1;
}

const MARK = `
  INSERT INTO orchestrator.chunk (task, lower_id, upper_id, status, detail, finished_at)
  VALUES ('recompute', 0, 0, 'done', $1::jsonb, clock_timestamp())`;

/** Marks the pass as done, in its own transaction. */
export async function markRecomputed(client: ClientBase, result: Recomputed): Promise<void> {
  await client.query(MARK, [JSON.stringify(result)]);
}

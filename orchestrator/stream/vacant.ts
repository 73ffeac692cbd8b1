import type pg from 'pg';
import { KEY_COLUMN } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import { forwardList, type Relations, relationOf, SOURCE_LIST, targetNames } from '../../src/mapping/sql.ts';
import { TARGETS, type Target } from '../../src/mapping/target.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';

/**
 * Heirs: while green serves nobody inherits a key. Before blue takes writes again, every non-empty key that no user on
 * green holds goes to the lowest parked row that has it (DESIGN 5, "Who is mapped"; HISTORIES 29). A row whose forward
 * image would collide with something of green's own making is passed over.
 */
const HEIRS = (r: Relations) => `
  SELECT DISTINCT ON (p.${ident(KEY_COLUMN)}) p."id"
  FROM ${r.parked} AS p
  WHERE p.${ident(KEY_COLUMN)} <> ''
    AND NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u.${ident(KEY_COLUMN)} = p.${ident(KEY_COLUMN)})
    AND NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u."id" = p."id")
    AND NOT EXISTS (SELECT FROM ${r.settings} AS s WHERE s."id" = p."id")
    AND NOT EXISTS (SELECT FROM ${r.org} AS o WHERE o."id" = p."id")
    AND NOT EXISTS (SELECT FROM ${r.org} AS o WHERE o."name" = 'user_' || p."id" || '_org')
  ORDER BY p.${ident(KEY_COLUMN)}, p."id"`;

/** The forward image of parked rows, one target at a time. */
const PROMOTE = (r: Relations, t: Target) => `
  INSERT INTO ${relationOf(r, t.table)} (${targetNames(t)})
  SELECT ${forwardList(t)}
  FROM (SELECT ${SOURCE_LIST} FROM ${r.parked} AS us WHERE us."id" = ANY ($1::integer[])) AS us`;

const UNPARK = (r: Relations) => `
  WITH link AS (DELETE FROM ${r.link} WHERE k = ANY ($1::integer[])),
       diverged AS (DELETE FROM orchestrator.diverged WHERE k = ANY ($1::integer[]))
  DELETE FROM ${r.parked}
  WHERE "id" = ANY ($1::integer[])`;

/** @returns the parked rows that would inherit a key now, for the plan of a revert. */
export async function vacantKeys(green: pg.ClientBase, ctx: Pick<Context, 'relations'>): Promise<number[]> {
  const { rows } = await green.query<{ id: number }>(HEIRS(ctx.relations));
  return rows.map((r) => r.id).sort((a, b) => a - b);
}

/**
 * Gives every vacant key its heir, in one transaction of its own with the claim held; nothing changes on blue, whose
 * rows the heirs are. Green's fence keeps clients out meanwhile (leased or closed); the sync role passes it. Done
 * twice it does nothing.
 * @param green a session on green, outside any transaction.
 * @param content when given, a transactional logical message of that content ends the transaction, so that a stream
 *   that is still running can be waited for.
 * @returns the ids of the heirs.
 */
export async function fillVacantKeys(
  green: pg.ClientBase,
  ctx: Context,
  content?: string,
): Promise<number[]> {
  return transaction(green, async () => {
    await holdClaim(green, ctx.claim());
    const heirs = await vacantKeys(green, ctx);
    if (heirs.length > 0) {
      for (const target of TARGETS) await green.query(PROMOTE(ctx.relations, target), [heirs]);
      await green.query(UNPARK(ctx.relations), [heirs]);
    }
    if (content !== undefined)
      await green.query('SELECT pg_logical_emit_message(true, $1, $2)', [ctx.names.messagePrefix, content]);
    return heirs;
  });
}

import type pg from 'pg';
import { KEY_COLUMN } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { makeRoom } from './foreign-rows.ts';
import { map, unpark } from './forward-move.ts';
import { readImages } from './forward-state.ts';

/**
 * Heirs: while green serves nobody inherits a key. When blue takes writes again, every non-empty key that no user on
 * green holds goes to the lowest parked row that has it (DESIGN 5, "Who is mapped"; HISTORIES 29).
 */
const HEIRS = (r: Relations) => `
  SELECT DISTINCT ON (p.${ident(KEY_COLUMN)}) p."id"
  FROM ${r.parked} AS p
  WHERE p.${ident(KEY_COLUMN)} <> ''
    AND NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u.${ident(KEY_COLUMN)} = p.${ident(KEY_COLUMN)})
    -- Somebody on green has taken the number itself: that is no row of ours any more.
    AND NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u."id" = p."id")
  ORDER BY p.${ident(KEY_COLUMN)}, p."id"`;

const SLICE = 200;

/** @returns the parked rows that would inherit a key now, for the plan of a revert. */
export async function vacantKeys(green: pg.ClientBase, ctx: Pick<Context, 'relations'>): Promise<number[]> {
  const { rows } = await green.query<{ id: number }>(HEIRS(ctx.relations));
  return rows.map((r) => r.id).sort((a, b) => a - b);
}

/**
 * Gives every vacant key its heir, in one transaction of its own with the claim held; nothing changes on blue, whose
 * rows the heirs are. Green's fence keeps clients out meanwhile (leased or closed); the sync role passes it. Done
 * twice it does nothing.
 *
 * Its place is after the decision and before the forward stream applies anything: earlier an attempt that is undone
 * would leave heirs behind while green serves, and a reverse stream that still runs would take an heir for a user born
 * on green, whose organisation, if its name was taken, it cannot recognise.
 * @param green a session on green, outside any transaction.
 * @returns the ids of the heirs.
 */
export async function fillVacantKeys(green: pg.Client, ctx: Context): Promise<number[]> {
  return transaction(green, async () => {
    await holdClaim(green, ctx.claim());
    const heirs = await vacantKeys(green, ctx);
    for (let at = 0; at < heirs.length; at += SLICE) {
      const slice = heirs.slice(at, at + SLICE);
      const images = await readImages(green, ctx.relations, slice);
      await unpark(green, ctx.relations, slice);
      // An organisation or settings row of green's own may have the heir's number or name.
      await makeRoom(green, ctx.relations, slice);
      await map(green, ctx.relations, [...images.values()]);
    }
    return heirs;
  });
}

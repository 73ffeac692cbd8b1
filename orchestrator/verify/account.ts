import type { ClientBase } from 'pg';
import type { Relations } from '../../src/mapping/sql.ts';
import { ADMIN_ROLE_ID } from '../../src/mapping/target.ts';
import type { Context } from '../state/context.ts';
import type { Mismatch } from './mismatch.ts';

/**
 * Parked rows whose reason does not hold any more while blue serves: a duplicate needs a mapped row with its key, the
 * others say what their key is. `$1` limits it to those ids; null means all.
 *
 * Once green has served, an heir whose number somebody on green has taken is passed over at a revert: it stays parked
 * although nobody holds its key.
 */
const unfoundedSql = (r: Relations, served: boolean) => `
  SELECT p."id" AS key
  FROM ${r.parked} AS p
  WHERE ($1::integer[] IS NULL OR p."id" = ANY ($1::integer[]))
    AND CASE p.reason
          WHEN 'null_key' THEN p."keycloak_user_id" IS NOT NULL
          WHEN 'empty_key' THEN p."keycloak_user_id" IS DISTINCT FROM ''
          ELSE NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u."keycloak_user_id" = p."keycloak_user_id")
               ${served ? `AND NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u."id" = p."id")` : ''}
        END
  ORDER BY 1
  LIMIT 1000`;

/** @returns parked rows that should be mapped, or are parked for another reason than they say. */
export async function unfoundedParking(
  green: ClientBase,
  ctx: Pick<Context, 'relations' | 'claim'>,
  keys: readonly number[] | null,
): Promise<Mismatch[]> {
  const sql = unfoundedSql(ctx.relations, ctx.claim().generation > 0n);
  const { rows } = await green.query<{ key: number }>(sql, [keys]);
  return rows.map(({ key }) => ({ table: 'parked', key, kind: 'different', columns: ['reason'] }));
}

/** The roles that migration 057 seeds. */
export const SEEDED_ROLES: readonly { readonly id: number; readonly name: string; readonly rank: number }[] =
  [
    { id: ADMIN_ROLE_ID, name: 'admin', rank: 1 },
    { id: 2, name: 'user', rank: 1000 },
  ];

const rolesSql = (r: Relations) => `
  SELECT "id" AS id, "name" AS name, "rank" AS rank
  FROM ${r.role}`;

/** Compares the seeded roles; before the first decision nobody else can have written there. */
export async function roleMismatches(green: ClientBase, r: Relations): Promise<Mismatch[]> {
  const { rows } = await green.query<{ id: number; name: string; rank: number }>(rolesSql(r));
  const found: Mismatch[] = [];
  for (const seeded of SEEDED_ROLES) {
    const row = rows.find((role) => role.id === seeded.id);
    if (row === undefined) {
      found.push({ table: 'role', key: seeded.id, kind: 'missing', columns: [] });
      continue;
    }
    const columns = (['name', 'rank'] as const).filter((name) => row[name] !== seeded[name]);
    if (columns.length > 0) found.push({ table: 'role', key: seeded.id, kind: 'different', columns });
  }
  for (const row of rows)
    if (!SEEDED_ROLES.some((seeded) => seeded.id === row.id))
      found.push({ table: 'role', key: row.id, kind: 'extra', columns: [] });
  return found;
}

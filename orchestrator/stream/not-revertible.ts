import type pg from 'pg';
import { literal } from '../../src/mapping/identifier.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import { ADMIN_ROLE_ID, MEMBER_STATUS } from '../../src/mapping/target.ts';
import type { Context } from '../state/context.ts';

/** One kind of fact on green that the old schema has no place for. It stays on green at a revert (DESIGN 8). */
export interface NotRevertible {
  readonly kind: string;
  /** What the ids are of. */
  readonly of: 'user' | 'org' | 'settings' | 'role';
  readonly count: number;
  /** The lowest of them. Never values. */
  readonly ids: readonly number[];
}

const KINDS: Readonly<Record<string, NotRevertible['of']>> = {
  extra_organisations: 'org',
  changed_organisations: 'user',
  missing_organisations: 'user',
  second_members: 'user',
  changed_memberships: 'user',
  missing_memberships: 'user',
  user_roles: 'user',
  member_settings: 'settings',
  moved_settings: 'user',
  missing_settings: 'user',
  extra_roles: 'role',
  empty_keys: 'user',
  ids_of_parked_rows: 'user',
};

/** Each user with the organisation and the settings row of its own, by link or by identity; then one line a kind. */
const query = (r: Relations) => `
  WITH own AS (
    SELECT u."id" AS k,
           CASE WHEN l.k IS NULL THEN u."id" ELSE l.org_id END AS org_id,
           CASE WHEN l.k IS NULL THEN u."id" ELSE l.settings_id END AS settings_id
    FROM ${r.user} AS u
    LEFT JOIN ${r.link} AS l ON l.k = u."id"
  ),
  found (kind, id) AS (
    SELECT 'extra_organisations', o."id"
    FROM ${r.org} AS o LEFT JOIN own ON own.org_id = o."id"
    WHERE own.k IS NULL
    UNION ALL
    SELECT 'changed_organisations', own.k
    FROM own JOIN ${r.org} AS o ON o."id" = own.org_id
    WHERE o."name" <> 'user_' || own.k || '_org' OR o."contact_name" IS NOT NULL OR o."contact_email" IS NOT NULL
       OR o."conversation_expiration" IS NOT NULL
    UNION ALL
    SELECT 'missing_organisations', own.k
    FROM own LEFT JOIN ${r.org} AS o ON o."id" = own.org_id
    WHERE o."id" IS NULL
    UNION ALL
    SELECT 'second_members', m."user_id"
    FROM ${r.orgUser} AS m LEFT JOIN own ON own.k = m."user_id" AND own.org_id = m."org_id"
    WHERE own.k IS NULL
    UNION ALL
    SELECT 'changed_memberships', own.k
    FROM own JOIN ${r.orgUser} AS m ON m."user_id" = own.k AND m."org_id" = own.org_id
    WHERE m."role_id" <> ${ADMIN_ROLE_ID} OR m."status" IS DISTINCT FROM ${literal(MEMBER_STATUS)}
    UNION ALL
    SELECT 'missing_memberships', own.k
    FROM own LEFT JOIN ${r.orgUser} AS m ON m."user_id" = own.k AND m."org_id" = own.org_id
    WHERE m."user_id" IS NULL
    UNION ALL
    SELECT 'user_roles', u."id" FROM ${r.user} AS u WHERE u."role_id" IS NOT NULL
    UNION ALL
    SELECT 'member_settings', s."id"
    FROM ${r.settings} AS s LEFT JOIN own ON own.settings_id = s."id"
    WHERE own.k IS NULL
    UNION ALL
    SELECT 'moved_settings', own.k
    FROM own JOIN ${r.settings} AS s ON s."id" = own.settings_id
    WHERE s."org_id" IS DISTINCT FROM own.org_id OR s."user_id" IS NOT NULL
    UNION ALL
    SELECT 'missing_settings', own.k
    FROM own LEFT JOIN ${r.settings} AS s ON s."id" = own.settings_id
    WHERE s."id" IS NULL
    UNION ALL
    SELECT 'extra_roles', x."id"
    FROM ${r.role} AS x
    WHERE (x."id", x."name", x."rank") NOT IN ((1, 'admin', 1), (2, 'user', 1000))
    UNION ALL
    SELECT 'empty_keys', u."id" FROM ${r.user} AS u WHERE u."keycloak_user_id" = ''
    UNION ALL
    SELECT 'ids_of_parked_rows', u."id" FROM ${r.user} AS u JOIN ${r.parked} AS p ON p."id" = u."id"
  )
  SELECT f.kind,
         count(*)::text AS count,
         (array_agg(f.id ORDER BY f.id))[1:$1::integer] AS ids
  FROM found AS f
  GROUP BY f.kind
  ORDER BY f.kind`;

/**
 * Lists what a revert would leave behind on green, for the plan and the question before it. Reads whole tables: outside
 * the freeze.
 * @param green any session on green.
 * @param show how many ids of each kind are named.
 */
export async function notRevertible(
  green: pg.ClientBase,
  ctx: Pick<Context, 'relations'>,
  show = 20,
): Promise<readonly NotRevertible[]> {
  const { rows } = await green.query<{ kind: string; count: string; ids: number[] }>(query(ctx.relations), [
    show,
  ]);
  return rows.map((row) => ({
    kind: row.kind,
    of: KINDS[row.kind] ?? 'user',
    count: Number(row.count),
    ids: row.ids,
  }));
}

import type pg from 'pg';
import { openSequelize } from '../../migrations/migrator.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import { ADMIN_ROLE_ID } from '../../src/mapping/target.ts';
import { createStores } from '../../src/stores/stores.ts';
import type { GuideCheck } from './guide.ts';

/** Keys that are asked for at a time, over a few sessions. */
const PAGE = 1_000;
const SESSIONS = 4;

const keysSql = (r: Relations) => `
  SELECT DISTINCT us."keycloak_user_id" AS key
  FROM ${r.userSettings} AS us
  WHERE us."keycloak_user_id" > $1
  ORDER BY 1
  LIMIT $2`;

/** Of the users `$1`: who has not exactly (or, with `$2`, not at least) one admin membership and settings row through it. */
const unsettledSql = (r: Relations) => `
  SELECT count(*)::integer AS unready
  FROM (
    SELECT CASE WHEN m.n = 1 OR ($2 AND m.n > 1) THEN 0 ELSE 1 END AS unadmitted,
           CASE WHEN s.n = 1 OR ($2 AND s.n > 1) THEN 0 ELSE 1 END AS unsettled
    FROM unnest($1::integer[]) AS w(id)
    CROSS JOIN LATERAL (
      SELECT count(*) AS n FROM ${r.orgUser} AS m WHERE m."user_id" = w.id AND m."role_id" = ${ADMIN_ROLE_ID}) AS m
    CROSS JOIN LATERAL (
      SELECT count(*) AS n FROM ${r.orgUser} AS m
      JOIN ${r.settings} AS s ON s."org_id" = m."org_id" AND s."user_id" IS NULL
      WHERE m."user_id" = w.id AND m."role_id" = ${ADMIN_ROLE_ID}) AS s
  ) AS x
  WHERE x.unadmitted + x.unsettled > 0`;

/**
 * "All users can log in", "permissions are preserved": every key of user_settings is looked up as the new application
 * does it, through `UserStore.getUserByKeycloakId`, and leads to one admin membership and one settings row.
 * @param config of a session on the org model's database, for the stores.
 * @param green a session there.
 */
export async function checkLogins(
  blue: pg.ClientBase,
  green: pg.ClientBase,
  config: pg.ClientConfig,
  r: Relations,
  options: { readonly orgSchema: string; readonly served: boolean; readonly note: (line: string) => void },
): Promise<GuideCheck[]> {
  const sequelize = openSequelize(config, SESSIONS);
  try {
    const { users } = createStores(sequelize, options.orgSchema);
    let keys = 0;
    let found = 0;
    let distinct = 0;
    let unready = 0;
    let notedAt = Date.now();
    for (let last = ''; ; ) {
      const page = await blue.query<{ key: string }>(keysSql(r), [last, PAGE]);
      const people = await Promise.all(page.rows.map(({ key }) => users.getUserByKeycloakId(key)));
      const ids = people.flatMap((person) => (person === null ? [] : [person.id]));
      const unsettled = await green.query<{ unready: number }>(unsettledSql(r), [ids, options.served]);
      keys += page.rows.length;
      found += ids.length;
      distinct += new Set(ids).size;
      unready += unsettled.rows[0]?.unready ?? 0;
      if (page.rows.length < PAGE) break;
      last = page.rows.at(-1)?.key ?? last;
      if (Date.now() - notedAt > 2_000) {
        notedAt = Date.now();
        options.note(`${keys} keys looked up`);
      }
    }
    return [
      {
        check: 'all users can log in: each key through UserStore.getUserByKeycloakId',
        expected: `${keys} keys lead to ${keys} users`,
        found: `${keys} keys lead to ${distinct} users`,
        ok: found === keys && distinct === keys,
      },
      {
        check: 'permissions are preserved: each of them has one admin membership and one settings row',
        expected: `${keys} users`,
        found: `${found - unready} users`,
        ok: found - unready === keys,
      },
    ];
  } finally {
    await sequelize.close();
  }
}

import type { ClientBase } from 'pg';
import { PARK_REASONS, type ParkReason } from '../../src/mapping/columns.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import { ADMIN_ROLE_ID } from '../../src/mapping/target.ts';
import { SEEDED_ROLES } from './account.ts';
import { agreeOnHash, type Hash } from './hash.ts';

/** One query of the migration guide, with what it should have said. */
export interface GuideCheck {
  readonly check: string;
  readonly expected: string;
  readonly found: string;
  readonly ok: boolean;
}

/** A user of the guide's sample: ids only, values stay where they are. */
export interface GuideSample {
  readonly user_settings_id: number;
  readonly user_id: number | null;
  readonly org_id: number | null;
  readonly role: string | null;
  readonly settings_id: number | null;
}

/** Where every row of user_settings is. */
export interface GuideAccount {
  readonly rows: number;
  readonly mapped: number;
  readonly parked: Readonly<Record<ParkReason, number>>;
}

export interface Guide {
  readonly account: GuideAccount;
  readonly checks: readonly GuideCheck[];
  readonly sample: readonly GuideSample[];
}

export interface GuideOptions {
  /** Both schemas in one database: nothing is parked physically, reasons are counted from `user_settings`. */
  readonly inPlace: boolean;
  /** Green has served: it may hold organisations and members of its own, so counts are lower bounds. */
  readonly served?: boolean;
}

const sourceSql = (r: Relations, hash: Hash) => `
  SELECT count(*)::text AS rows,
         count(us."keycloak_user_id")::text AS keyed,
         count(*) FILTER (WHERE us."keycloak_user_id" IS NULL)::text AS null_key,
         count(*) FILTER (WHERE us."keycloak_user_id" = '')::text AS empty_key,
         count(DISTINCT us."keycloak_user_id") FILTER (WHERE us."keycloak_user_id" <> '')::text AS people,
         (SELECT coalesce(bit_xor(${hash.ofRow([{ sql: 'k.key', type: 'text' }], '0')}), 0)::text
          FROM (SELECT DISTINCT x."keycloak_user_id" AS key
                FROM ${r.userSettings} AS x WHERE x."keycloak_user_id" <> '') AS k) AS keys
  FROM ${r.userSettings} AS us`;

interface Source extends Readonly<Record<'null_key' | 'empty_key', string>> {
  readonly rows: string;
  readonly keyed: string;
  readonly people: string;
  readonly keys: string;
}

const targetSql = (r: Relations, hash: Hash) => `
  SELECT (SELECT count(*)::text FROM ${r.user}) AS users,
         (SELECT count(*)::text FROM ${r.org}) AS orgs,
         (SELECT count(*)::text FROM ${r.orgUser}) AS members,
         (SELECT count(*)::text FROM ${r.orgUser} WHERE "role_id" = ${ADMIN_ROLE_ID}) AS admins,
         (SELECT count(*)::text FROM ${r.settings}) AS settings,
         (SELECT coalesce(bit_xor(${hash.ofRow([{ sql: 'u."keycloak_user_id"', type: 'text' }], '0')}), 0)::text
          FROM ${r.user} AS u) AS keys,
         (SELECT coalesce(string_agg(x."name" || ' ' || x."rank", ', ' ORDER BY x."rank", x."id"), '')
          FROM ${r.role} AS x) AS roles`;

interface Target {
  readonly users: string;
  readonly orgs: string;
  readonly members: string;
  readonly admins: string;
  readonly settings: string;
  readonly keys: string;
  readonly roles: string;
}

/** What refers to nothing, and who could not log in; each number should be 0. */
const faultsSql = (r: Relations) => `
  SELECT (SELECT count(*) FROM ${r.orgUser} AS m
          WHERE NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u."id" = m."user_id"))::text
           AS "memberships without a user",
         (SELECT count(*) FROM ${r.orgUser} AS m
          WHERE NOT EXISTS (SELECT FROM ${r.org} AS o WHERE o."id" = m."org_id"))::text
           AS "memberships without an organisation",
         (SELECT count(*) FROM ${r.orgUser} AS m
          WHERE NOT EXISTS (SELECT FROM ${r.role} AS x WHERE x."id" = m."role_id"))::text
           AS "memberships without a role",
         (SELECT count(*) FROM ${r.settings} AS s
          WHERE s."org_id" IS NOT NULL AND NOT EXISTS (SELECT FROM ${r.org} AS o WHERE o."id" = s."org_id"))::text
           AS "settings without their organisation",
         (SELECT count(*) FROM ${r.settings} AS s
          WHERE s."user_id" IS NOT NULL AND NOT EXISTS (SELECT FROM ${r.user} AS u WHERE u."id" = s."user_id"))::text
           AS "settings without their user",
         (SELECT count(*) FROM ${r.org} AS o
          WHERE NOT EXISTS (SELECT FROM ${r.orgUser} AS m WHERE m."org_id" = o."id"))::text
           AS "organisations without a member",
         (SELECT count(*) FROM ${r.user} AS u
          WHERE (SELECT count(*) FROM ${r.orgUser} AS m
                 WHERE m."user_id" = u."id" AND m."org_id" = u."id" AND m."role_id" = ${ADMIN_ROLE_ID}) <> 1)::text
           AS "users without exactly one admin membership of their own",
         (SELECT count(*) FROM ${r.user} AS u
          WHERE (SELECT count(*) FROM ${r.settings} AS s
                 WHERE s."org_id" = u."id" AND s."user_id" IS NULL) <> 1)::text
           AS "users without exactly one settings row of their own"`;

/** Faults that are green's own business once it has served. */
const OWN_BUSINESS = new Set([
  'organisations without a member',
  'users without exactly one admin membership of their own',
  'users without exactly one settings row of their own',
]);

const parkedSql = (r: Relations) => `
  SELECT reason, count(*)::text AS rows
  FROM ${r.parked}
  GROUP BY reason`;

const sampleIdsSql = (r: Relations) => `
  SELECT us."id" AS id
  FROM ${r.userSettings} AS us
  WHERE us."keycloak_user_id" <> ''
  ORDER BY us."id"
  LIMIT 5`;

const sampleSql = (r: Relations) => `
  SELECT w.id AS user_settings_id, u."id" AS user_id, m."org_id" AS org_id, x."name" AS role, s."id" AS settings_id
  FROM unnest($1::integer[]) WITH ORDINALITY AS w(id, place)
  LEFT JOIN ${r.user} AS u ON u."id" = w.id
  LEFT JOIN ${r.orgUser} AS m ON m."user_id" = u."id" AND m."org_id" = u."id"
  LEFT JOIN ${r.role} AS x ON x."id" = m."role_id"
  LEFT JOIN ${r.settings} AS s ON s."org_id" = m."org_id" AND s."user_id" IS NULL
  ORDER BY w.place`;

/**
 * The guide's own queries (issue "Guide", DESIGN 6): roles, counts, orphans, role assignments, the account of every
 * row, data loss, and that everybody can log in. They count what is there at the moment: for an exact answer nobody
 * writes meanwhile, or both clients read the same picture.
 * @param blue reads `user_settings`; `green` the org model. In place both are the same session.
 */
export async function guide(
  blue: ClientBase,
  green: ClientBase,
  r: Relations,
  options: GuideOptions,
): Promise<Guide> {
  const hash = await agreeOnHash(blue, green);
  const source = await one<Source>(blue, sourceSql(r, hash));
  const target = await one<Target>(green, targetSql(r, hash));
  const faults = await one<Record<string, string>>(green, faultsSql(r));
  const parked = options.inPlace ? parkedInPlace(source) : await readParked(green, r);
  const ids = await blue.query<{ id: number }>(sampleIdsSql(r));
  const sample = await green.query<GuideSample>(sampleSql(r), [ids.rows.map((row) => row.id)]);
  const account = {
    rows: Number(source.rows),
    mapped: Number(target.users),
    parked: {
      null_key: Number(parked.null_key),
      empty_key: Number(parked.empty_key),
      duplicate: Number(parked.duplicate),
    },
  };
  return { account, checks: judge(source, target, faults, parked, options), sample: sample.rows };
}

/** Pure: what the guide's numbers mean together. */
export function judge(
  source: Source,
  target: Target,
  faults: Readonly<Record<string, string>>,
  parked: Readonly<Record<ParkReason, bigint>>,
  options: GuideOptions,
): GuideCheck[] {
  const served = options.served === true;
  const users = BigInt(target.users);
  const equal = (check: string, expected: bigint, found: bigint, atLeast = false): GuideCheck => ({
    check,
    expected: `${atLeast ? 'at least ' : ''}${expected}`,
    found: `${found}`,
    ok: atLeast ? found >= expected : found === expected,
  });
  const roles = SEEDED_ROLES.map((role) => `${role.name} ${role.rank}`).join(', ');
  const allParked = PARK_REASONS.reduce((sum, reason) => sum + parked[reason], 0n);
  const reasons = PARK_REASONS.map((reason) => `${parked[reason]} ${reason}`).join(' + ');
  return [
    {
      check: 'roles by rank',
      expected: roles,
      found: target.roles,
      ok: served ? roles.split(', ').every((role) => target.roles.includes(role)) : target.roles === roles,
    },
    {
      check: 'users against user_settings with a key',
      expected: `${source.keyed} less ${parked.empty_key} empty and ${parked.duplicate} duplicates`,
      found: target.users,
      ok: users === BigInt(source.keyed) - parked.empty_key - parked.duplicate,
    },
    {
      check: 'mapped + parked by reason = all rows',
      expected: source.rows,
      found: `${users + allParked} = ${users} mapped + ${reasons}`,
      ok: users + allParked === BigInt(source.rows),
    },
    equal('organisations', users, BigInt(target.orgs), served),
    equal('memberships', users, BigInt(target.members), served),
    equal('settings', users, BigInt(target.settings), served),
    equal('memberships with role admin', users, BigInt(target.admins), served),
    {
      check: 'no data loss: every key of user_settings has its user',
      expected: `${source.people} keys`,
      found: `${target.users} users${source.keys === target.keys ? '' : ', with other keys'}`,
      ok: source.people === target.users && source.keys === target.keys,
    },
    ...Object.entries(faults)
      .filter(([check]) => !(served && OWN_BUSINESS.has(check)))
      .map(([check, found]) => equal(check, 0n, BigInt(found))),
  ];
}

function parkedInPlace(source: Source): Record<ParkReason, bigint> {
  const nulls = BigInt(source.null_key);
  const empty = BigInt(source.empty_key);
  return {
    null_key: nulls,
    empty_key: empty,
    duplicate: BigInt(source.rows) - nulls - empty - BigInt(source.people),
  };
}

async function readParked(green: ClientBase, r: Relations): Promise<Record<ParkReason, bigint>> {
  const counts: Record<ParkReason, bigint> = { null_key: 0n, empty_key: 0n, duplicate: 0n };
  const { rows } = await green.query<{ reason: ParkReason; rows: string }>(parkedSql(r));
  for (const row of rows) counts[row.reason] = BigInt(row.rows);
  return counts;
}

async function one<Row extends object>(client: ClientBase, sql: string): Promise<Row> {
  const { rows } = await client.query<Row & Record<string, unknown>>(sql);
  const row = rows[0];
  if (row === undefined) throw new Error('an aggregate without a row');
  return row;
}

import type pg from 'pg';
import { literal } from '../../src/mapping/identifier.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import { ADMIN_ROLE_ID, MEMBER_STATUS } from '../../src/mapping/target.ts';
import { failpoint } from '../errors/failpoint.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { type Beyond, decideLinks, type Known, type Link, type LinkChanges } from './links.ts';
import type { Fact } from './reverse-marks.ts';
import { numberArray } from './text-array.ts';
import { visible, whenVisible } from './visibility.ts';

/**
 * Everything `decideLinks` asks about the ids of a batch's facts, as rows `(what, a, b, c, flag)`. $1 xids, $2 users,
 * $3 organisations, $4 settings rows. Looked up by id only: names are taken from the stream.
 */
const KNOWN = (r: Relations) => `
  WITH born AS (
    SELECT b.org_id, b.k
    FROM orchestrator.born_org AS b
    WHERE b.k = ANY ($2::integer[])
    UNION
    SELECT b.org_id, b.k
    FROM orchestrator.born_org AS b
    WHERE b.org_id = ANY ($2::integer[] || $3::integer[] || $4::integer[])
  ),
  named AS (
    SELECT unnest($3::integer[]) AS org_id
    UNION
    SELECT org_id FROM born
  ),
  settings AS (
    SELECT s."org_id", s."id"
    FROM ${r.settings} AS s
    JOIN named ON named.org_id = s."org_id"
    WHERE s."user_id" IS NULL
  ),
  ids AS (
    SELECT unnest($2::integer[] || $3::integer[] || $4::integer[]) AS id
    UNION
    SELECT org_id FROM named
    UNION
    SELECT "id" FROM settings
  )
  SELECT 'visible' AS what, NULL::integer AS a, NULL::integer AS b, NULL::integer AS c, ${visible('$1')} AS flag
  UNION
  SELECT 'link', l.k, l.org_id, l.settings_id, NULL FROM ids JOIN ${r.link} AS l ON l.k = ids.id
  UNION
  SELECT 'link', l.k, l.org_id, l.settings_id, NULL FROM ids JOIN ${r.link} AS l ON l.org_id = ids.id
  UNION
  SELECT 'link', l.k, l.org_id, l.settings_id, NULL FROM ids JOIN ${r.link} AS l ON l.settings_id = ids.id
  UNION
  SELECT 'born', org_id, k, NULL, NULL FROM born
  UNION
  SELECT 'user', u."id", NULL, NULL, NULL FROM ids JOIN ${r.user} AS u ON u."id" = ids.id
  UNION
  SELECT 'admin', m."user_id", m."org_id", NULL, coalesce(m."status" = ${literal(MEMBER_STATUS)}, false)
  FROM (SELECT unnest($2::integer[]) UNION SELECT k FROM born) AS x(k)
  JOIN ${r.orgUser} AS m ON m."user_id" = x.k
  WHERE m."role_id" = ${ADMIN_ROLE_ID}
  UNION
  SELECT 'settings', "org_id", "id", NULL, NULL FROM settings
  UNION
  SELECT 'dressed', o."id", NULL, NULL, NULL
  FROM named
  JOIN ${r.org} AS o ON o."id" = named.org_id
  WHERE NOT (o."contact_name" IS NULL AND o."contact_email" IS NULL AND o."conversation_expiration" IS NULL)`;

interface KnownRow {
  readonly what: 'visible' | 'link' | 'born' | 'user' | 'admin' | 'settings' | 'dressed';
  readonly a: number;
  readonly b: number | null;
  readonly c: number | null;
  readonly flag: boolean | null;
}

/** Rows go before they come back: the unique columns of `link` are checked row by row. */
const FORGET = `
  WITH gone AS (DELETE FROM orchestrator.diverged WHERE k = ANY ($1::integer[])),
       away AS (DELETE FROM orchestrator.born_org WHERE org_id = ANY ($2::integer[]))
  DELETE FROM orchestrator.link WHERE k = ANY ($3::integer[])`;

const WRITE = `
  WITH links AS (
    INSERT INTO orchestrator.link (k, org_id, settings_id)
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::integer[])
  ),
  born AS (
    INSERT INTO orchestrator.born_org (org_id, k)
    SELECT * FROM unnest($4::integer[], $5::integer[])
    ON CONFLICT (org_id) DO UPDATE SET k = excluded.k
  )
  INSERT INTO orchestrator.diverged (table_name, k)
  SELECT * FROM unnest($6::text[], $7::integer[])
  ON CONFLICT DO NOTHING`;

/**
 * Keeps `link`, `born_org` and `diverged` on green, in stream order, in a transaction of its own that commits before
 * blue's: written twice it says the same, and blue's rows are read with it.
 * @returns what the old schema has no place for.
 * @param source session on green, outside any transaction.
 * @throws OrchestrateError NOT_VISIBLE, STALE_EPOCH.
 */
export async function recordLinks(
  source: pg.Client,
  ctx: Context,
  facts: readonly Fact[],
  xids: readonly number[],
): Promise<ReadonlyMap<Beyond, ReadonlySet<number>>> {
  if (facts.length === 0) return new Map();
  const known = await whenVisible(ctx.signal, () => readKnown(source, ctx.relations, facts, xids));
  const changes = decideLinks(facts, known);
  // Nothing to write is the rule, and then green is spared a transaction.
  if (changes.links.size + changes.born.size + changes.forgotten.size + changes.diverged.size > 0) {
    await failpoint('link.before');
    await transaction(source, async () => {
      await holdClaim(source, ctx.claim());
      await writeLinks(source, changes);
    });
    await failpoint('link.after');
  }
  return changes.beyond();
}

async function readKnown(
  source: pg.Client,
  relations: Relations,
  facts: readonly Fact[],
  xids: readonly number[],
): Promise<Known | undefined> {
  const users = new Set<number>();
  const orgs = new Set<number>();
  const settings = new Set<number>();
  for (const fact of facts) {
    if ('k' in fact) users.add(fact.k);
    if ('to' in fact) users.add(fact.to);
    if ('org' in fact && fact.org !== null) orgs.add(fact.org);
    if ('settings' in fact) settings.add(fact.settings);
    if (fact.kind === 'org' && fact.namedAfter !== null) users.add(fact.namedAfter);
  }
  const { rows } = await source.query<KnownRow>({
    name: 'reverse_known',
    text: KNOWN(relations),
    values: [xids, users, orgs, settings].map(numberArray),
  });
  const found = {
    links: new Map<number, Link>(),
    born: new Map<number, number | null>(),
    users: new Set<number>(),
    admins: new Map<number, Map<number, boolean>>(),
    orgSettings: new Map<number, number>(),
    dressed: new Set<number>(),
  } satisfies Known;
  for (const { what, a, b, c, flag } of rows) {
    if (what === 'visible' && flag !== true) return undefined;
    if (what === 'visible') continue;
    if (what === 'link') found.links.set(a, { org: b, settings: c });
    else if (what === 'born') found.born.set(a, b);
    else if (what === 'user') found.users.add(a);
    else if (what === 'dressed') found.dressed.add(a);
    else if (b === null) continue;
    else if (what === 'settings') found.orgSettings.set(a, b);
    else found.admins.set(a, (found.admins.get(a) ?? new Map<number, boolean>()).set(b, flag === true));
  }
  return found;
}

async function writeLinks(source: pg.Client, changes: LinkChanges): Promise<void> {
  const goneOrgs = [...changes.born].filter(([, k]) => k === 'gone').map(([org]) => org);
  await source.query({
    name: 'reverse_links_forget',
    text: FORGET,
    values: [[...changes.forgotten], goneOrgs, [...changes.links.keys()]],
  });
  const links = [...changes.links].flatMap(([k, link]) => (link ? [{ k, ...link }] : []));
  const born = [...changes.born].flatMap(([org, k]) => (k === 'gone' ? [] : [{ org, k }]));
  const diverged = [...changes.diverged].flatMap(([table, keys]) => [...keys].map((k) => ({ table, k })));
  await source.query({
    name: 'reverse_links_write',
    text: WRITE,
    values: [
      links.map((l) => l.k),
      links.map((l) => l.org),
      links.map((l) => l.settings),
      born.map((b) => b.org),
      born.map((b) => b.k),
      diverged.map((d) => d.table),
      diverged.map((d) => d.k),
    ],
  });
}

/** A truncated table of green has nobody's own rows any more. Inside the caller's transaction. */
export async function forgetTruncated(source: pg.Client, tables: ReadonlySet<string>): Promise<void> {
  if (tables.has('user')) await source.query('DELETE FROM orchestrator.link');
  if (tables.has('user')) await source.query('DELETE FROM orchestrator.diverged');
  if (tables.has('org')) await source.query('DELETE FROM orchestrator.born_org');
  if (tables.has('settings') && !tables.has('user'))
    await source.query('UPDATE orchestrator.link SET settings_id = NULL WHERE settings_id IS NOT NULL');
}

/**
 * What is right after a stream has come to rest, in plain SQL: nothing here comes from the mapping or from any other
 * part of the product.
 */
import type pg from 'pg';
import { withClient } from './sql.ts';

const TEXT = {
  options: '-c datestyle=ISO -c extra_float_digits=3 -c timezone=UTC',
  types: { getTypeParser: () => (value: string) => value },
} as unknown as pg.ClientConfig;

const FACTS = `language, agent, max_iterations, security_analyzer, confirmation_mode, llm_model, llm_api_key,
  llm_base_url, remote_runtime_resource_factor, enable_default_condenser, user_consents_to_analytics, billing_margin,
  sandbox_base_container_image, sandbox_runtime_container_image, enable_proactive_conversation_starters,
  mcp_config::text, search_api_key, max_budget_per_task, sandbox_api_key, enable_solvability_analysis, email,
  email_verified`;

const ON_BLUE = `
  SELECT id, keycloak_user_id, accepted_tos, enable_sound_notifications, user_version, ${FACTS}
  FROM user_settings
  ORDER BY id`;

/** Written by hand: nothing here comes from the mapping. */
const ON_GREEN = `
  SELECT u.id, u.keycloak_user_id, u.accepted_tos, u.enable_sound_notifications, s.settings_version, ${FACTS}
  FROM "user" u
  JOIN org o ON o.id = u.id AND o.name = 'user_' || u.id || '_org' AND o.contact_name IS NULL
  JOIN org_user m ON m.org_id = u.id AND m.user_id = u.id AND m.role_id = 1 AND m.status = 'active'
  JOIN settings s ON s.id = u.id AND s.org_id = u.id AND s.user_id IS NULL
  WHERE u.role_id IS NULL
  UNION ALL
  SELECT id, keycloak_user_id, accepted_tos, enable_sound_notifications, user_version, ${FACTS}
  FROM orchestrator.parked
  ORDER BY 1`;

const COUNTS = `
  SELECT (SELECT count(*) FROM "user") AS users, (SELECT count(*) FROM org) AS orgs,
         (SELECT count(*) FROM org_user) AS members, (SELECT count(*) FROM settings) AS settings,
         (SELECT count(*) FROM orchestrator.parked WHERE reason <> CASE
            WHEN keycloak_user_id IS NULL THEN 'null_key' WHEN keycloak_user_id = '' THEN 'empty_key'
            ELSE 'duplicate' END) AS misjudged,
         (SELECT count(*) FROM orchestrator.parked p
          WHERE p.keycloak_user_id <> ''
            AND NOT EXISTS (SELECT FROM "user" u WHERE u.keycloak_user_id = p.keycloak_user_id)) AS vacant,
         (SELECT count(*) FROM orchestrator.parked p JOIN "user" u USING (id)) AS doubled`;

type Cells = (string | null)[];

/** The superuser's URL of each side. */
export interface Sides {
  readonly blue: { readonly urls: { readonly superuser: string } };
  readonly green: { readonly urls: { readonly superuser: string } };
}

/** Both sides as lines of text; equal exactly when green holds every row of blue, mapped or parked, and nothing else. */
export async function bothSides(
  pair: Sides,
): Promise<{ blue: string[]; green: string[]; counts: Record<string, string> }> {
  const read = (url: string, text: string) =>
    withClient(url, async (c) => (await c.query<Cells>({ text, rowMode: 'array' })).rows, TEXT);
  const [blue, green, counts] = await Promise.all([
    read(pair.blue.urls.superuser, ON_BLUE),
    read(pair.green.urls.superuser, ON_GREEN),
    withClient(
      pair.green.urls.superuser,
      async (c) => (await c.query<Record<string, string>>(COUNTS)).rows[0],
      TEXT,
    ),
  ]);
  return { blue: blue.map(line), green: green.map(line), counts: counts ?? {} };
}

const line = (cells: Cells): string => JSON.stringify(cells);

/**
 * What is wrong with green, in words without values: rows that are missing, extra or different, and rows of the org
 * model that do not belong together. Empty when everything is right.
 */
export async function wrongsOf(pair: Sides): Promise<string[]> {
  const { blue, green, counts } = await bothSides(pair);
  const wrongs: string[] = [];
  const byId = (lines: readonly string[]) => new Map(lines.map((l) => [(JSON.parse(l) as Cells)[0], l]));
  const [there, here] = [byId(blue), byId(green)];
  for (const [id, text] of there) {
    const found = here.get(id);
    if (found === undefined) wrongs.push(`row ${id} is missing`);
    else if (found !== text) wrongs.push(`row ${id} differs in columns ${differing(text, found).join(', ')}`);
  }
  for (const id of here.keys()) if (!there.has(id)) wrongs.push(`row ${id} is too many`);
  if (green.length !== here.size) wrongs.push('a row is there twice');
  for (const what of ['orgs', 'members', 'settings'])
    if (counts[what] !== counts['users']) wrongs.push(`${counts['users']} users, ${counts[what]} ${what}`);
  for (const what of ['misjudged', 'vacant', 'doubled'])
    if (counts[what] !== '0') wrongs.push(`${counts[what]} ${what}`);
  return wrongs;
}

/** Positions in the select list, from 1. */
function differing(a: string, b: string): number[] {
  const [left, right] = [JSON.parse(a) as Cells, JSON.parse(b) as Cells];
  return left.flatMap((cell, i) => (cell === right[i] ? [] : [i + 1]));
}

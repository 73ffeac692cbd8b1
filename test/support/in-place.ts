/** A database at revision 055 and what the in-place migration should make of it, in SQL written by hand. */
import { spawn } from 'node:child_process';
import { copyRows, makeUsers, settleTable, withTextSession } from '../../orchestrator/rehearsal/generator.ts';
import { makeZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import type { Pair } from './databases.ts';
import { PROGRAM } from './program.ts';
import { execute, withClient } from './sql.ts';

/** The table of the older design that lies in the same database, with names that the new tables want too. */
const OLDER_SETTINGS = `
  CREATE TABLE settings (
    id serial PRIMARY KEY, org_id varchar UNIQUE, language varchar NOT NULL CHECK (language <> ''),
    a_name_of_sixty_three_bytes_that_leaves_no_room_for_any_suffix_ integer);
  CREATE INDEX settings_org_id_user_id_key ON settings (language);
  CREATE INDEX an_index_of_sixty_three_bytes_that_leaves_no_room_for_a_suffix_ ON settings (org_id, language);
  COMMENT ON TABLE settings IS 'older';
  INSERT INTO settings (org_id, language) VALUES ('x', 'en'), ('y', 'ja'), (NULL, 'zh');`;

/** Fills blue: the value zoo (300 rows, all odd keys), ordinary users, an older `settings`. */
export async function fill055(pair: Pair, users: number): Promise<void> {
  await withTextSession(pair.blue.urls.superuser, 'in-place', 'public', async (client) => {
    await copyRows(client, makeZoo({ rows: 300, longestBytes: 50_000 }));
    await copyRows(client, makeUsers({ users, seed: 11, firstId: 1_000 }));
    await settleTable(client);
  });
  await execute(pair.blue.urls.owner, OLDER_SETTINGS);
}

const PRINTED = 'SET search_path = public, pg_catalog; SET extra_float_digits = 3';

/** One digest of every row and of the sequences: equal digests are equal bytes. */
export async function bytesOf(url: string, tables: readonly string[]): Promise<Record<string, string>> {
  return withClient(url, async (client) => {
    await client.query(PRINTED);
    const digests: Record<string, string> = {};
    for (const table of tables) {
      const { rows } = await client.query<{ digest: string }>(
        `SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY t::text COLLATE "C")), '') AS digest FROM ${table} AS t`,
      );
      digests[table] = rows[0]?.digest ?? '';
    }
    return digests;
  });
}

const FACTS =
  'language, agent, max_iterations, security_analyzer, confirmation_mode, llm_model, llm_api_key, llm_base_url, remote_runtime_resource_factor, enable_default_condenser, user_consents_to_analytics, billing_margin, sandbox_base_container_image, sandbox_runtime_container_image, enable_proactive_conversation_starters, mcp_config, search_api_key, max_budget_per_task, sandbox_api_key, enable_solvability_analysis, email, email_verified';

/** @returns rows that are in one of both, as text: `-` is missing in the org model, `+` too much there. */
const differencesSql = (source: string) => {
  const parts: [string, string, string][] = [
    [
      'user',
      'id, keycloak_user_id, NULL::integer, accepted_tos, enable_sound_notifications',
      'id, keycloak_user_id, role_id, accepted_tos, enable_sound_notifications',
    ],
    [
      'org',
      `id, 'user_' || id || '_org', NULL::varchar, NULL::varchar, NULL::integer`,
      'id, name, contact_name, contact_email, conversation_expiration',
    ],
    ['org_user', `id, id, 1, 'active'`, 'org_id, user_id, role_id, status'],
    [
      'settings',
      `id, id, NULL::integer, user_version, ${FACTS}`,
      `id, org_id, user_id, settings_version, ${FACTS}`,
    ],
  ];
  return `
  WITH winners AS MATERIALIZED (
    SELECT DISTINCT ON (keycloak_user_id) * FROM ${source} WHERE keycloak_user_id <> '' ORDER BY keycloak_user_id, id)
  ${parts
    .map(
      ([table, wanted, found]) => `
  (SELECT '- ${table} ' || w.id AS line FROM winners AS w
   WHERE NOT EXISTS (
     SELECT FROM "${table}" AS t
     WHERE t.${table === 'org_user' ? 'user_id' : 'id'} = w.id
       AND (SELECT ROW(${found.replace(/\b(\w+)\b/g, 't.$1')}))::text = (SELECT ROW(${wanted.replace(
         /'[^']*'|::\w+|\b(?:NULL|1)\b|\b([a-z]\w*)\b/g,
         (all: string, name?: string) => (name ? `w.${name}` : all),
       )}))::text)
   UNION ALL
   SELECT '+ ${table} ' || t.${table === 'org_user' ? 'user_id' : 'id'} FROM "${table}" AS t
   WHERE NOT EXISTS (SELECT FROM winners AS w WHERE w.id = t.${table === 'org_user' ? 'user_id' : 'id'}))`,
    )
    .join('\n  UNION ALL')}`;
};

/**
 * Compares the org model with what `source` should have become: the lowest id of each key, every column, as text.
 * @param source user_settings, or a table of its columns.
 * @returns how many users there are, and at most 20 differences by id.
 */
export async function compareInPlace(
  url: string,
  source = 'user_settings',
): Promise<{ users: number; differences: string[] }> {
  return withClient(url, async (client) => {
    await client.query(PRINTED);
    const found = await client.query<{ line: string }>(`${differencesSql(source)} LIMIT 20`);
    const users = await client.query<{ n: number }>('SELECT count(*)::integer AS n FROM "user"');
    return { users: users.rows[0]?.n ?? 0, differences: found.rows.map((r) => r.line) };
  });
}

/** The program in a process of its own, on blue alone. @returns how it ended and what it printed on stderr. */
export async function migrateProcess(
  pair: Pair,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<{ ended: string; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [PROGRAM, 'migrate', ...args, '--side', 'blue', '--json'], {
    env: {
      PATH: process.env['PATH'] ?? '',
      ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
      ORCHESTRATE_TEST: '1',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ ended: signal ?? String(code), stdout, stderr }));
  });
}

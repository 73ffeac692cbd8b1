/** A pair with a running forward stream, and a comparison of both sides written by hand. */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { Applier, type ApplierOptions } from '../../orchestrator/stream/applier.ts';
import { type ForwardOptions, ForwardSink } from '../../orchestrator/stream/apply.ts';
import type { Pair } from './databases.ts';
import { copied } from './green-serving.ts';
import type { TestContext } from './run-context.ts';
import { execute, rows, withClient } from './sql.ts';

export interface ForwardStream {
  readonly ctx: TestContext;
  readonly applier: Applier;
  /** Runs statements on blue as the application. */
  blue(sql: string): Promise<void>;
  /** Waits until everything committed on blue so far is durable on green. */
  drained(timeoutMs?: number): Promise<void>;
  stop(): Promise<void>;
}

/** Copies blue's rows and starts the forward stream after them. */
export async function forwardStream(
  pair: Pair,
  options: ApplierOptions & Partial<ForwardOptions> = {},
): Promise<ForwardStream> {
  return streamOf(pair, await copied(pair), options);
}

/** Starts the forward stream of a pair that was copied before. */
export async function streamOf(
  pair: Pair,
  ctx: TestContext,
  options: ApplierOptions & Partial<ForwardOptions> = {},
): Promise<ForwardStream> {
  const { mode = 'syncing', truncate = 'apply', ...rest } = options;
  const applier = new Applier(ctx, 'forward', new ForwardSink(ctx, { mode, truncate }), rest);
  await applier.start();
  return {
    ctx,
    applier,
    blue: (sql) => execute(pair.blue.urls.app, sql),
    drained: (timeoutMs = 30_000) => drained(pair, ctx, applier, timeoutMs),
    stop: async () => {
      await applier.stop();
    },
  };
}

/** Waits for a barrier of its own: a transactional message that is durable on the other side. */
export async function drained(
  pair: Pair,
  ctx: TestContext,
  applier: Applier,
  timeoutMs = 30_000,
): Promise<void> {
  const content = randomBytes(8).toString('hex');
  const failed = new AbortController();
  applier.onFatal((error) => failed.abort(error));
  const signal = AbortSignal.any([failed.signal, AbortSignal.timeout(timeoutMs)]);
  const arrived = applier.waitForMessage(content, signal);
  arrived.catch(() => {});
  await emit(pair, ctx, content);
  await arrived;
}

/** Writes a transactional message of ours into blue's WAL. */
export async function emit(pair: Pair, ctx: TestContext, content: string): Promise<void> {
  await rows(pair.blue.urls.sync, 'SELECT pg_logical_emit_message(true, $1, $2)', [
    ctx.names.messagePrefix,
    content,
  ]);
}

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

/** Both sides as lines of text; equal exactly when green holds every row of blue, mapped or parked, and nothing else. */
export async function bothSides(
  pair: Pair,
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

import type pg from 'pg';
import type { Side } from '../../pg/side.ts';
import { SOURCE_COLUMN_NAMES, type SourceColumn } from '../source-columns.ts';

/**
 * Both sides' rows in the form of `user_settings`, written out by hand: this file is the comparison's own
 * understanding of the two schemas, and shares nothing with the declaration that the product works by.
 */
const BLUE_ROWS = `
  SELECT
    id, 'user_settings' AS home,
    keycloak_user_id, language, agent, max_iterations, security_analyzer, confirmation_mode, llm_model, llm_api_key,
    llm_base_url, remote_runtime_resource_factor, enable_default_condenser, user_consents_to_analytics,
    billing_margin, enable_sound_notifications, sandbox_base_container_image, sandbox_runtime_container_image,
    user_version, accepted_tos, enable_proactive_conversation_starters, mcp_config, search_api_key,
    max_budget_per_task, sandbox_api_key, enable_solvability_analysis, email, email_verified
  FROM user_settings`;

const MAPPED_COLUMNS = `
    u.id, 'user' AS home,
    u.keycloak_user_id, s.language, s.agent, s.max_iterations, s.security_analyzer, s.confirmation_mode, s.llm_model,
    s.llm_api_key, s.llm_base_url, s.remote_runtime_resource_factor, s.enable_default_condenser,
    s.user_consents_to_analytics, s.billing_margin, u.enable_sound_notifications, s.sandbox_base_container_image,
    s.sandbox_runtime_container_image, s.settings_version AS user_version, u.accepted_tos,
    s.enable_proactive_conversation_starters, s.mcp_config, s.search_api_key, s.max_budget_per_task,
    s.sandbox_api_key, s.enable_solvability_analysis, s.email, s.email_verified`;

/** Whose rows are whose, as `orchestrator.link` tells: a user who is not in it has org and settings of the same id. */
const OWN_BY_LINK = `
  SELECT
    u.id AS k,
    CASE WHEN l.k IS NULL THEN u.id ELSE l.org_id END AS org_id,
    CASE WHEN l.k IS NULL THEN u.id ELSE l.settings_id END AS settings_id
  FROM "user" u
  LEFT JOIN orchestrator.link l ON l.k = u.id`;

/**
 * For a user whom no stream has seen yet: what the link says, else the organisation that was named for the user, else
 * (it was renamed) the first one in which the user is admin.
 */
const OWN_BY_LINK_OR_NAME = `
  SELECT own.k, own.org_id, CASE WHEN own.linked THEN own.settings_id ELSE s.id END AS settings_id
  FROM (
    SELECT u.id AS k, l.k IS NOT NULL AS linked, l.settings_id,
           CASE WHEN l.k IS NULL THEN coalesce(o.id, (
             SELECT min(m.org_id) FROM org_user m JOIN role r ON r.id = m.role_id
             WHERE m.user_id = u.id AND r.name = 'admin'
           )) ELSE l.org_id END AS org_id
    FROM "user" u
    LEFT JOIN orchestrator.link l ON l.k = u.id
    LEFT JOIN org o ON o.name = 'user_' || u.id || '_org'
  ) AS own
  LEFT JOIN settings s ON s.org_id = own.org_id AND s.user_id IS NULL`;

/** Once the control schema is gone: the organisation that was named for the user, else the one of the same id. */
const OWN_BY_NAME = `
  SELECT own.k, own.org_id, s.id AS settings_id
  FROM (
    SELECT u.id AS k, coalesce(o.id, u.id) AS org_id
    FROM "user" u
    LEFT JOIN org o ON o.name = 'user_' || u.id || '_org'
  ) AS own
  LEFT JOIN settings s ON s.org_id = own.org_id AND s.user_id IS NULL`;

const PARKED_ROWS = `
  SELECT
    id, 'parked' AS home,
    keycloak_user_id, language, agent, max_iterations, security_analyzer, confirmation_mode, llm_model, llm_api_key,
    llm_base_url, remote_runtime_resource_factor, enable_default_condenser, user_consents_to_analytics,
    billing_margin, enable_sound_notifications, sandbox_base_container_image, sandbox_runtime_container_image,
    user_version, accepted_tos, enable_proactive_conversation_starters, mcp_config, search_api_key,
    max_budget_per_task, sandbox_api_key, enable_solvability_analysis, email, email_verified
  FROM orchestrator.parked`;

/** Where a fact lives on green, for the reports. */
export function greenTableOf(column: SourceColumn): 'user' | 'settings' {
  return ['id', 'keycloak_user_id', 'accepted_tos', 'enable_sound_notifications'].includes(column)
    ? 'user'
    : 'settings';
}

/** One side's rows in source form, as SQL. */
export interface SourceForm {
  /** `id`, `home` and the columns of `user_settings`; every row that stands for a row of `user_settings`. */
  readonly rows: string;
  /** The same without parked rows. */
  readonly mapped: string;
  /** `k`, `org_id`, `settings_id` of every user; green only. */
  readonly own: string;
  /** False on green once the control schema is gone. */
  readonly hasParked: boolean;
}

const HAS_CONTROL = `
  SELECT to_regclass('orchestrator.parked') IS NOT NULL AS parked, to_regclass('orchestrator.link') IS NOT NULL AS link`;

/**
 * @param streamed whether the stream that leaves green has seen everything, so that the link tells all
 * @returns how to read a side now: with the control schema where it is, without it where it is gone.
 */
export async function sourceForm(client: pg.Client, side: Side, streamed: boolean): Promise<SourceForm> {
  if (side === 'blue') return { rows: BLUE_ROWS, mapped: BLUE_ROWS, own: '', hasParked: true };
  const found = await client.query<{ parked: boolean; link: boolean }>(HAS_CONTROL);
  const hasParked = found.rows[0]?.parked === true;
  const byLink = streamed ? OWN_BY_LINK : OWN_BY_LINK_OR_NAME;
  const own = found.rows[0]?.link === true ? byLink : OWN_BY_NAME;
  const mapped = `
  SELECT ${MAPPED_COLUMNS}
  FROM "user" u
  JOIN (${own}) AS own ON own.k = u.id
  LEFT JOIN settings s ON s.id = own.settings_id`;
  return { rows: hasParked ? `${mapped}\n  UNION ALL${PARKED_ROWS}` : mapped, mapped, own, hasParked };
}

/** The columns beside the key, each of which is compared as the text that the server prints. */
export const FACT_COLUMNS = SOURCE_COLUMN_NAMES.filter((name) => name !== 'id');

/** NULL and the empty string stay apart, and no two rows of texts make the same array. */
export const ROW_HASH = `encode(sha256(convert_to(json_build_array(${FACT_COLUMNS.map((c) => `${c}::text`).join(', ')})::text, 'UTF8')), 'hex')`;

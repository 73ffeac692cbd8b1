/**
 * The rehearsal's own list of `user_settings`, written by hand from the description of the two schemas.
 *
 * It is deliberately not derived from `src/mapping`: generator, workload and comparison are the witness against
 * which that declaration is judged, and a witness that reads the accused's notes proves nothing.
 */
export const SOURCE_COLUMN_NAMES = [
  'id',
  'keycloak_user_id',
  'language',
  'agent',
  'max_iterations',
  'security_analyzer',
  'confirmation_mode',
  'llm_model',
  'llm_api_key',
  'llm_base_url',
  'remote_runtime_resource_factor',
  'enable_default_condenser',
  'user_consents_to_analytics',
  'billing_margin',
  'enable_sound_notifications',
  'sandbox_base_container_image',
  'sandbox_runtime_container_image',
  'user_version',
  'accepted_tos',
  'enable_proactive_conversation_starters',
  'mcp_config',
  'search_api_key',
  'max_budget_per_task',
  'sandbox_api_key',
  'enable_solvability_analysis',
  'email',
  'email_verified',
] as const;

export type SourceColumn = (typeof SOURCE_COLUMN_NAMES)[number];

/** One row of `user_settings`, every value as PostgreSQL prints it, `null` for SQL NULL. */
export type SourceRow = Record<SourceColumn, string | null>;

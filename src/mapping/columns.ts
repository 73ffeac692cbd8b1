/**
 * THE declaration: every column of `user_settings` and its one home in the organisational model.
 *
 * Everything that reads or writes a row (copy, apply, verify, reverse, the in-place migration and the compatibility
 * view) is derived from this list and from `target.ts`. A column joins the migration by adding one line here.
 * Types, nullability and defaults are those of schema revision 055.
 */
export interface SourceColumn {
  /** Name on `user_settings`. */
  readonly name: string;
  /** SQL type on both sides, as `format_type` prints it. */
  readonly type: string;
  readonly notNull: boolean;
  /** SQL expression of the default, where there is one. */
  readonly default?: string;
  /** The table of the org model in which the fact lives; `key` is the id that all targets share. */
  readonly home: 'key' | 'user' | 'settings';
  /** Name of the column in its home. */
  readonly as: string;
}

const column = (
  name: string,
  type: string,
  home: SourceColumn['home'],
  more: { as?: string; default?: string } = {},
): SourceColumn => ({
  name,
  type,
  home,
  notNull: home === 'key' || more.default !== undefined,
  as: more.as ?? name,
  ...(more.default === undefined ? {} : { default: more.default }),
});

export const SOURCE_TABLE = 'user_settings';

export const SOURCE_COLUMNS: readonly SourceColumn[] = [
  column('id', 'integer', 'key'),
  column('keycloak_user_id', 'character varying', 'user'),
  column('language', 'character varying', 'settings'),
  column('agent', 'character varying', 'settings'),
  column('max_iterations', 'integer', 'settings'),
  column('security_analyzer', 'character varying', 'settings'),
  column('confirmation_mode', 'boolean', 'settings'),
  column('llm_model', 'character varying', 'settings'),
  column('llm_api_key', 'character varying', 'settings'),
  column('llm_base_url', 'character varying', 'settings'),
  column('remote_runtime_resource_factor', 'integer', 'settings'),
  column('enable_default_condenser', 'boolean', 'settings', { default: 'true' }),
  column('user_consents_to_analytics', 'boolean', 'settings'),
  column('billing_margin', 'double precision', 'settings'),
  column('enable_sound_notifications', 'boolean', 'user'),
  column('sandbox_base_container_image', 'character varying', 'settings'),
  column('sandbox_runtime_container_image', 'character varying', 'settings'),
  column('user_version', 'integer', 'settings', { as: 'settings_version', default: '0' }),
  column('accepted_tos', 'timestamp without time zone', 'user'),
  column('enable_proactive_conversation_starters', 'boolean', 'settings', { default: 'true' }),
  column('mcp_config', 'json', 'settings'),
  column('search_api_key', 'character varying', 'settings'),
  column('max_budget_per_task', 'double precision', 'settings'),
  column('sandbox_api_key', 'character varying', 'settings'),
  column('enable_solvability_analysis', 'boolean', 'settings'),
  column('email', 'character varying', 'settings'),
  column('email_verified', 'boolean', 'settings'),
];

/** The source column that names a person; vacant, empty or shared values are why a row is parked. */
export const KEY_COLUMN = 'keycloak_user_id';

/** Why a source row has no forward image. Its whole row is kept on green instead. */
export type ParkReason = 'null_key' | 'empty_key' | 'duplicate';
export const PARK_REASONS: readonly ParkReason[] = ['null_key', 'empty_key', 'duplicate'];

/** @returns the declared columns whose facts live in `home`. */
export function columnsOf(home: SourceColumn['home']): readonly SourceColumn[] {
  return SOURCE_COLUMNS.filter((c) => c.home === home);
}

import {
  type CreationOptional,
  type InferAttributes,
  type InferCreationAttributes,
  Model,
  type Sequelize,
} from 'sequelize';
import { SOURCE_COLUMNS, SOURCE_TABLE } from '../mapping/columns.ts';
import { attributesOf, readingAsText } from './attributes.ts';

/** The old table: everything about a user in one row. */
export class UserSettings extends Model<
  InferAttributes<UserSettings>,
  InferCreationAttributes<UserSettings>
> {
  declare id: CreationOptional<number>;
  declare keycloak_user_id: CreationOptional<string | null>;
  declare user_version: CreationOptional<number>;
  /** `timestamp` without time zone, as PostgreSQL prints it: microseconds and ±infinity do not fit a Date. */
  declare accepted_tos: CreationOptional<string | null>;
  declare enable_sound_notifications: CreationOptional<boolean | null>;
  declare language: CreationOptional<string | null>;
  declare agent: CreationOptional<string | null>;
  declare max_iterations: CreationOptional<number | null>;
  declare security_analyzer: CreationOptional<string | null>;
  declare confirmation_mode: CreationOptional<boolean | null>;
  declare llm_model: CreationOptional<string | null>;
  declare llm_api_key: CreationOptional<string | null>;
  declare llm_base_url: CreationOptional<string | null>;
  declare remote_runtime_resource_factor: CreationOptional<number | null>;
  declare enable_default_condenser: CreationOptional<boolean>;
  declare user_consents_to_analytics: CreationOptional<boolean | null>;
  declare billing_margin: CreationOptional<number | null>;
  declare sandbox_base_container_image: CreationOptional<string | null>;
  declare sandbox_runtime_container_image: CreationOptional<string | null>;
  declare enable_proactive_conversation_starters: CreationOptional<boolean>;
  /** JSON as text: key order, duplicate keys and escapes stay as they were written. */
  declare mcp_config: CreationOptional<string | null>;
  declare search_api_key: CreationOptional<string | null>;
  declare max_budget_per_task: CreationOptional<number | null>;
  declare sandbox_api_key: CreationOptional<string | null>;
  declare enable_solvability_analysis: CreationOptional<boolean | null>;
  declare email: CreationOptional<string | null>;
  declare email_verified: CreationOptional<boolean | null>;
}

/** Binds the model to a connection. @param schema where the old table, or the view of its name, is. */
export function defineUserSettings(sequelize: Sequelize, schema: string): typeof UserSettings {
  class Bound extends UserSettings {}
  const columns = SOURCE_COLUMNS.filter((c) => c.home !== 'key');
  return Bound.init(attributesOf<UserSettings>(columns), {
    sequelize,
    schema,
    tableName: SOURCE_TABLE,
    modelName: 'UserSettings',
    timestamps: false,
    defaultScope: readingAsText(['accepted_tos', 'mcp_config']),
  });
}

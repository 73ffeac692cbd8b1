import {
  type CreationOptional,
  type InferAttributes,
  type InferCreationAttributes,
  Model,
  type Sequelize,
} from 'sequelize';
import { columnsOf } from '../mapping/columns.ts';
import { attributesOf, readingAsText } from './attributes.ts';

/** Preferences of an organisation (`user_id` is NULL), or of one of its members. */
export class Settings extends Model<InferAttributes<Settings>, InferCreationAttributes<Settings>> {
  declare id: CreationOptional<number>;
  declare org_id: CreationOptional<number | null>;
  declare user_id: CreationOptional<number | null>;
  declare settings_version: CreationOptional<number>;
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

/** Binds the model to a connection. @param schema where the tables of the org model are. */
export function defineSettings(sequelize: Sequelize, schema: string): typeof Settings {
  class Bound extends Settings {}
  const columns = [
    { name: 'org_id', type: 'integer', notNull: false },
    { name: 'user_id', type: 'integer', notNull: false },
    ...columnsOf('settings').map((c) => ({ ...c, name: c.as })),
  ];
  return Bound.init(attributesOf<Settings>(columns), {
    sequelize,
    schema,
    tableName: 'settings',
    modelName: 'Settings',
    timestamps: false,
    defaultScope: readingAsText(['mcp_config']),
  });
}

import {
  type CreationOptional,
  DataTypes,
  type InferAttributes,
  type InferCreationAttributes,
  Model,
  type Sequelize,
} from 'sequelize';
import { ID, readingAsText } from './attributes.ts';

/** A person, known by the identity provider's id. */
export class User extends Model<InferAttributes<User>, InferCreationAttributes<User>> {
  declare id: CreationOptional<number>;
  declare keycloak_user_id: string;
  declare role_id: CreationOptional<number | null>;
  /** `timestamp` without time zone, as PostgreSQL prints it: microseconds and ±infinity do not fit a Date. */
  declare accepted_tos: CreationOptional<string | null>;
  declare enable_sound_notifications: CreationOptional<boolean | null>;
}

/** Binds the model to a connection. @param schema where the tables of the org model are. */
export function defineUser(sequelize: Sequelize, schema: string): typeof User {
  class Bound extends User {}
  return Bound.init(
    {
      id: ID,
      keycloak_user_id: { type: DataTypes.STRING, allowNull: false },
      role_id: DataTypes.INTEGER,
      accepted_tos: DataTypes.TEXT,
      enable_sound_notifications: DataTypes.BOOLEAN,
    },
    {
      sequelize,
      schema,
      tableName: 'user',
      modelName: 'User',
      timestamps: false,
      defaultScope: readingAsText(['accepted_tos']),
    },
  );
}

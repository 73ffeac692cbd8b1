import {
  type CreationOptional,
  DataTypes,
  type InferAttributes,
  type InferCreationAttributes,
  Model,
  type Sequelize,
} from 'sequelize';
import { ID } from './attributes.ts';

/** An organisation. Each migrated user is admin of one of their own, named `user_{id}_org`. */
export class Org extends Model<InferAttributes<Org>, InferCreationAttributes<Org>> {
  declare id: CreationOptional<number>;
  declare name: string;
  declare contact_name: CreationOptional<string | null>;
  declare contact_email: CreationOptional<string | null>;
  declare conversation_expiration: CreationOptional<number | null>;
}

/** Binds the model to a connection. @param schema where the tables of the org model are. */
export function defineOrg(sequelize: Sequelize, schema: string): typeof Org {
  class Bound extends Org {}
  return Bound.init(
    {
      id: ID,
      name: { type: DataTypes.STRING, allowNull: false },
      contact_name: DataTypes.STRING,
      contact_email: DataTypes.STRING,
      conversation_expiration: DataTypes.INTEGER,
    },
    { sequelize, schema, tableName: 'org', modelName: 'Org', timestamps: false },
  );
}

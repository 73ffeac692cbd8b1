import {
  type CreationOptional,
  DataTypes,
  type InferAttributes,
  type InferCreationAttributes,
  Model,
  type Sequelize,
} from 'sequelize';
import { ID } from './attributes.ts';

/** What a member may do in an organisation; a lower rank may do more. Seeded: 1 admin (1), 2 user (1000). */
export class Role extends Model<InferAttributes<Role>, InferCreationAttributes<Role>> {
  declare id: CreationOptional<number>;
  declare name: string;
  declare rank: number;
}

/** Binds the model to a connection. @param schema where the tables of the org model are. */
export function defineRole(sequelize: Sequelize, schema: string): typeof Role {
  class Bound extends Role {}
  return Bound.init(
    {
      id: ID,
      name: { type: DataTypes.STRING, allowNull: false },
      rank: { type: DataTypes.INTEGER, allowNull: false },
    },
    { sequelize, schema, tableName: 'role', modelName: 'Role', timestamps: false },
  );
}

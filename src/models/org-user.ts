import {
  type CreationOptional,
  DataTypes,
  type InferAttributes,
  type InferCreationAttributes,
  Model,
  type Sequelize,
} from 'sequelize';

/** A membership: which user belongs to which organisation, in which role. */
export class OrgUser extends Model<InferAttributes<OrgUser>, InferCreationAttributes<OrgUser>> {
  declare org_id: number;
  declare user_id: number;
  declare role_id: number;
  declare status: CreationOptional<string | null>;
}

/** Binds the model to a connection. @param schema where the tables of the org model are. */
export function defineOrgUser(sequelize: Sequelize, schema: string): typeof OrgUser {
  class Bound extends OrgUser {}
  return Bound.init(
    {
      org_id: { type: DataTypes.INTEGER, primaryKey: true },
      user_id: { type: DataTypes.INTEGER, primaryKey: true },
      role_id: { type: DataTypes.INTEGER, allowNull: false },
      status: DataTypes.STRING,
    },
    { sequelize, schema, tableName: 'org_user', modelName: 'OrgUser', timestamps: false },
  );
}

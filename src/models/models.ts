import type { Sequelize } from 'sequelize';
import { defineOrg, type Org } from './org.ts';
import { defineOrgUser, type OrgUser } from './org-user.ts';
import { defineRole, type Role } from './role.ts';
import { defineSettings, type Settings } from './settings.ts';
import { defineUser, type User } from './user.ts';
import { defineUserSettings, type UserSettings } from './user-settings.ts';

/** The models, bound to one connection. */
export interface Models {
  readonly Role: typeof Role;
  readonly Org: typeof Org;
  readonly User: typeof User;
  readonly OrgUser: typeof OrgUser;
  readonly Settings: typeof Settings;
  /** The old table, where it is. */
  readonly UserSettings: typeof UserSettings;
}

/**
 * Binds all models to a connection, with their associations. Several connections can have models of their own.
 * @param schema where the tables are; default `public`.
 */
export function defineModels(sequelize: Sequelize, schema = 'public'): Models {
  const models: Models = {
    Role: defineRole(sequelize, schema),
    Org: defineOrg(sequelize, schema),
    User: defineUser(sequelize, schema),
    OrgUser: defineOrgUser(sequelize, schema),
    Settings: defineSettings(sequelize, schema),
    UserSettings: defineUserSettings(sequelize, schema),
  };
  models.User.belongsTo(models.Role, { as: 'role', foreignKey: 'role_id', constraints: false });
  models.OrgUser.belongsTo(models.Org, { as: 'org', foreignKey: 'org_id', constraints: false });
  models.OrgUser.belongsTo(models.User, { as: 'user', foreignKey: 'user_id', constraints: false });
  models.OrgUser.belongsTo(models.Role, { as: 'role', foreignKey: 'role_id', constraints: false });
  models.Settings.belongsTo(models.Org, { as: 'org', foreignKey: 'org_id', constraints: false });
  models.Settings.belongsTo(models.User, { as: 'user', foreignKey: 'user_id', constraints: false });
  return models;
}

import type { Sequelize } from 'sequelize';
import { defineModels, type Models } from '../models/models.ts';
import { OrgStore } from './org.ts';
import { OrgUserStore } from './org-user.ts';
import { RoleStore } from './role.ts';
import { SettingsStore } from './settings.ts';
import { UserStore } from './user.ts';
import { UserSettingsStore } from './user-settings.ts';

/** Every store, on one connection. */
export interface Stores {
  readonly models: Models;
  readonly roles: RoleStore;
  readonly orgs: OrgStore;
  readonly users: UserStore;
  readonly orgUsers: OrgUserStore;
  readonly settings: SettingsStore;
  readonly userSettings: UserSettingsStore;
}

/**
 * Stores for application code.
 * @param schema where the tables are; default `public`.
 */
export function createStores(sequelize: Sequelize, schema = 'public'): Stores {
  const models = defineModels(sequelize, schema);
  return {
    models,
    roles: new RoleStore(models),
    orgs: new OrgStore(models),
    users: new UserStore(models),
    orgUsers: new OrgUserStore(models),
    settings: new SettingsStore(models),
    userSettings: new UserSettingsStore(models),
  };
}

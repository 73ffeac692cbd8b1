/** The public surface: models and stores of the organisational model, and the mapping from the old table to it. */
export {
  KEY_COLUMN,
  PARK_REASONS,
  type ParkReason,
  SOURCE_COLUMNS,
  type SourceColumn,
} from './mapping/columns.ts';
export { ADMIN_ROLE_ID, MEMBER_STATUS, TARGETS, type Target, type TargetColumn } from './mapping/target.ts';
export { defineModels, type Models } from './models/models.ts';
export { Org } from './models/org.ts';
export { OrgUser } from './models/org-user.ts';
export { Role } from './models/role.ts';
export { Settings } from './models/settings.ts';
export { User } from './models/user.ts';
export { UserSettings } from './models/user-settings.ts';
export { type NewOrg, type OrgRow, OrgStore } from './stores/org.ts';
export { type NewOrgUser, type OrgUserRow, OrgUserStore, type UserOrg } from './stores/org-user.ts';
export { type NewRole, type RoleRow, RoleStore } from './stores/role.ts';
export {
  type NewSettings,
  type SettingsChanges,
  type SettingsRow,
  SettingsStore,
} from './stores/settings.ts';
export { createStores, type Stores } from './stores/stores.ts';
export type { ListOptions, StoreOptions } from './stores/table.ts';
export { type NewUser, type UserRow, UserStore } from './stores/user.ts';
export { type UserSettingsChanges, type UserSettingsRow, UserSettingsStore } from './stores/user-settings.ts';

import type { InferAttributes } from 'sequelize';
import type { Models } from '../models/models.ts';
import type { UserSettings } from '../models/user-settings.ts';
import { LIST_LIMIT, type ListOptions, type StoreOptions, Table } from './table.ts';

export type UserSettingsRow = InferAttributes<UserSettings>;
export type UserSettingsChanges = Partial<Omit<UserSettingsRow, 'id'>>;

/** The old table, for application code in transition. Each method is one statement. */
export class UserSettingsStore {
  private readonly table: Table<UserSettingsRow>;

  constructor(models: Pick<Models, 'UserSettings'>) {
    this.table = new Table(models.UserSettings);
  }

  createUserSettings(row: UserSettingsChanges, options?: StoreOptions): Promise<UserSettingsRow> {
    return this.table.insert({ ...row }, options);
  }

  getUserSettingsById(id: number, options?: StoreOptions): Promise<UserSettingsRow | null> {
    return this.table.first({ id }, options);
  }

  /** @returns the row of the lowest id: the key is not unique there. */
  getUserSettingsByKeycloakId(
    keycloakUserId: string,
    options?: StoreOptions,
  ): Promise<UserSettingsRow | null> {
    return this.table.first({ keycloak_user_id: keycloakUserId }, options);
  }

  /** @returns rows by id, a page at a time. */
  listUserSettings(options?: ListOptions): Promise<UserSettingsRow[]> {
    return this.table.select({}, { limit: LIST_LIMIT, ...options });
  }

  /** Changes only what is given. @returns the changed row, or null where there is none of that id. */
  async updateUserSettings(
    id: number,
    changes: UserSettingsChanges,
    options?: StoreOptions,
  ): Promise<UserSettingsRow | null> {
    return (await this.table.update({ id }, { ...changes }, options))[0] ?? null;
  }

  /** @returns whether there was one. */
  async removeUserSettings(id: number, options?: StoreOptions): Promise<boolean> {
    return (await this.table.remove({ id }, options)) > 0;
  }
}

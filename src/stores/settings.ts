import type { InferAttributes } from 'sequelize';
import type { Models } from '../models/models.ts';
import type { Settings } from '../models/settings.ts';
import { LIST_LIMIT, type ListOptions, type StoreOptions, Table } from './table.ts';

export type SettingsRow = InferAttributes<Settings>;
/** The preferences themselves: everything but what says whose they are. */
export type SettingsChanges = Partial<Omit<SettingsRow, 'id' | 'org_id' | 'user_id'>>;
export type NewSettings = SettingsChanges & {
  readonly org_id?: number | null;
  readonly user_id?: number | null;
};

/**
 * Preferences: an organisation's own, and those of a member that differ. Each method is one statement, in
 * `options.transaction` where one is given. `mcp_config` is JSON as text.
 */
export class SettingsStore {
  private readonly table: Table<SettingsRow>;

  constructor(models: Pick<Models, 'Settings'>) {
    this.table = new Table(models.Settings);
  }

  /** @throws UniqueConstraintError for a second row of the same owner; DatabaseError when neither owner is named. */
  createSettings(settings: NewSettings, options?: StoreOptions): Promise<SettingsRow> {
    return this.table.insert({ ...settings }, options);
  }

  getSettingsById(id: number, options?: StoreOptions): Promise<SettingsRow | null> {
    return this.table.first({ id }, options);
  }

  /** @returns the organisation's own preferences, which hold for every member without others. */
  getOrgSettings(orgId: number, options?: StoreOptions): Promise<SettingsRow | null> {
    return this.table.first({ org_id: orgId, user_id: null }, options);
  }

  /** @returns the preferences one member has set aside from the organisation's. */
  getUserSettings(orgId: number, userId: number, options?: StoreOptions): Promise<SettingsRow | null> {
    return this.table.first({ org_id: orgId, user_id: userId }, options);
  }

  /** @returns settings by id, a page at a time. */
  listSettings(options?: ListOptions): Promise<SettingsRow[]> {
    return this.table.select({}, { limit: LIST_LIMIT, ...options });
  }

  /** Changes only what is given. @returns the changed row, or null where there is none. */
  async updateOrgSettings(
    orgId: number,
    changes: SettingsChanges,
    options?: StoreOptions,
  ): Promise<SettingsRow | null> {
    return (await this.table.update({ org_id: orgId, user_id: null }, { ...changes }, options))[0] ?? null;
  }

  /** Changes only what is given. @returns the changed row, or null where there is none of that id. */
  async updateSettings(
    id: number,
    changes: SettingsChanges,
    options?: StoreOptions,
  ): Promise<SettingsRow | null> {
    return (await this.table.update({ id }, { ...changes }, options))[0] ?? null;
  }

  /** @returns whether there was one. */
  async removeSettings(id: number, options?: StoreOptions): Promise<boolean> {
    return (await this.table.remove({ id }, options)) > 0;
  }
}

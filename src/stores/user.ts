import type { InferAttributes } from 'sequelize';
import type { Models } from '../models/models.ts';
import type { User } from '../models/user.ts';
import { LIST_LIMIT, type ListOptions, type StoreOptions, Table } from './table.ts';

export type UserRow = InferAttributes<User>;
export type NewUser = Pick<UserRow, 'keycloak_user_id'> & Partial<Omit<UserRow, 'id' | 'keycloak_user_id'>>;

/** People. Each method is one statement, in `options.transaction` where one is given. */
export class UserStore {
  private readonly table: Table<UserRow>;

  constructor(models: Pick<Models, 'User'>) {
    this.table = new Table(models.User);
  }

  /** @throws UniqueConstraintError when the identity provider's id is known already. */
  createUser(user: NewUser, options?: StoreOptions): Promise<UserRow> {
    return this.table.insert({ ...user }, options);
  }

  getUserById(id: number, options?: StoreOptions): Promise<UserRow | null> {
    return this.table.first({ id }, options);
  }

  /** @returns the person who signed in, by the identity provider's id, bytes as they are. */
  getUserByKeycloakId(keycloakUserId: string, options?: StoreOptions): Promise<UserRow | null> {
    return this.table.first({ keycloak_user_id: keycloakUserId }, options);
  }

  /** @returns users by id, a page at a time. */
  listUsers(options?: ListOptions): Promise<UserRow[]> {
    return this.table.select({}, { limit: LIST_LIMIT, ...options });
  }

  /** @returns the changed user, or null where there is none of that id. */
  async updateUser(id: number, changes: Partial<NewUser>, options?: StoreOptions): Promise<UserRow | null> {
    return (await this.table.update({ id }, { ...changes }, options))[0] ?? null;
  }

  /** @returns whether there was one. @throws ForeignKeyConstraintError while the user has memberships or settings. */
  async removeUser(id: number, options?: StoreOptions): Promise<boolean> {
    return (await this.table.remove({ id }, options)) > 0;
  }
}

import type { InferAttributes } from 'sequelize';
import type { Models } from '../models/models.ts';
import type { Role } from '../models/role.ts';
import { type StoreOptions, Table } from './table.ts';

export type RoleRow = InferAttributes<Role>;
export type NewRole = Pick<RoleRow, 'name' | 'rank'>;

/** Roles. Each method is one statement, in `options.transaction` where one is given. */
export class RoleStore {
  private readonly table: Table<RoleRow>;

  constructor(models: Pick<Models, 'Role'>) {
    this.table = new Table(models.Role);
  }

  /** @throws UniqueConstraintError when the name is taken. */
  createRole(role: NewRole, options?: StoreOptions): Promise<RoleRow> {
    return this.table.insert({ ...role }, options);
  }

  getRoleById(id: number, options?: StoreOptions): Promise<RoleRow | null> {
    return this.table.first({ id }, options);
  }

  getRoleByName(name: string, options?: StoreOptions): Promise<RoleRow | null> {
    return this.table.first({ name }, options);
  }

  /** @returns all roles, those that may do most first. */
  listRoles(options?: StoreOptions): Promise<RoleRow[]> {
    return this.table.query(
      `SELECT ${this.table.columns} FROM ${this.table.relation} AS t ORDER BY t."rank", t."id"`,
      [],
      options,
    );
  }

  /** @returns the changed role, or null where there is none of that id. */
  async updateRole(id: number, changes: Partial<NewRole>, options?: StoreOptions): Promise<RoleRow | null> {
    return (await this.table.update({ id }, { ...changes }, options))[0] ?? null;
  }

  /** @returns whether there was one. @throws ForeignKeyConstraintError while somebody has it. */
  async removeRole(id: number, options?: StoreOptions): Promise<boolean> {
    return (await this.table.remove({ id }, options)) > 0;
  }
}

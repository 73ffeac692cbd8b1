import type { InferAttributes } from 'sequelize';
import type { Models } from '../models/models.ts';
import type { Org } from '../models/org.ts';
import { LIST_LIMIT, type ListOptions, type StoreOptions, Table } from './table.ts';

export type OrgRow = InferAttributes<Org>;
export type NewOrg = Pick<OrgRow, 'name'> & Partial<Omit<OrgRow, 'id' | 'name'>>;

/** Organisations. Each method is one statement, in `options.transaction` where one is given. */
export class OrgStore {
  private readonly table: Table<OrgRow>;

  constructor(models: Pick<Models, 'Org'>) {
    this.table = new Table(models.Org);
  }

  /** @throws UniqueConstraintError when the name is taken. */
  createOrg(org: NewOrg, options?: StoreOptions): Promise<OrgRow> {
    return this.table.insert({ ...org }, options);
  }

  getOrgById(id: number, options?: StoreOptions): Promise<OrgRow | null> {
    return this.table.first({ id }, options);
  }

  getOrgByName(name: string, options?: StoreOptions): Promise<OrgRow | null> {
    return this.table.first({ name }, options);
  }

  /** @returns organisations by id, a page at a time. */
  listOrgs(options?: ListOptions): Promise<OrgRow[]> {
    return this.table.select({}, { limit: LIST_LIMIT, ...options });
  }

  /** @returns the changed organisation, or null where there is none of that id. */
  async updateOrg(id: number, changes: Partial<NewOrg>, options?: StoreOptions): Promise<OrgRow | null> {
    return (await this.table.update({ id }, { ...changes }, options))[0] ?? null;
  }

  /** @returns whether there was one. @throws ForeignKeyConstraintError while it has members or settings. */
  async removeOrg(id: number, options?: StoreOptions): Promise<boolean> {
    return (await this.table.remove({ id }, options)) > 0;
  }
}

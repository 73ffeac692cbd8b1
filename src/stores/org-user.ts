import type { InferAttributes } from 'sequelize';
import type { Models } from '../models/models.ts';
import type { OrgUser } from '../models/org-user.ts';
import { type StoreOptions, Table } from './table.ts';

export type OrgUserRow = InferAttributes<OrgUser>;
export type NewOrgUser = Pick<OrgUserRow, 'org_id' | 'user_id' | 'role_id'> & {
  readonly status?: string | null;
};

/** A membership with the names one usually wants to show. */
export interface UserOrg extends OrgUserRow {
  readonly org_name: string;
  readonly role_name: string;
  readonly role_rank: number;
}

/** Memberships. Each method is one statement, in `options.transaction` where one is given. */
export class OrgUserStore {
  private readonly table: Table<OrgUserRow>;
  private readonly org: Table<object>;
  private readonly role: Table<object>;

  constructor(models: Pick<Models, 'OrgUser' | 'Org' | 'Role'>) {
    this.table = new Table(models.OrgUser);
    this.org = new Table(models.Org);
    this.role = new Table(models.Role);
  }

  /** @throws UniqueConstraintError for a second membership; ForeignKeyConstraintError for an unknown org, user or role. */
  createOrgUser(membership: NewOrgUser, options?: StoreOptions): Promise<OrgUserRow> {
    return this.table.insert({ ...membership }, options);
  }

  getOrgUser(orgId: number, userId: number, options?: StoreOptions): Promise<OrgUserRow | null> {
    return this.table.first({ org_id: orgId, user_id: userId }, options);
  }

  /** @returns the organisations a user belongs to, with organisation and role, highest right first. */
  getUserOrgs(userId: number, options?: StoreOptions): Promise<UserOrg[]> {
    return this.table.query<UserOrg>(
      `SELECT ${this.table.columns}, o."name" AS org_name, r."name" AS role_name, r."rank" AS role_rank
       FROM ${this.table.relation} AS t
       JOIN ${this.org.relation} AS o ON o."id" = t."org_id"
       JOIN ${this.role.relation} AS r ON r."id" = t."role_id"
       WHERE t."user_id" = $1
       ORDER BY r."rank", t."org_id"`,
      [userId],
      options,
    );
  }

  /** @returns the members of an organisation. */
  getOrgUsers(orgId: number, options?: StoreOptions): Promise<OrgUserRow[]> {
    return this.table.query(
      `SELECT ${this.table.columns} FROM ${this.table.relation} AS t WHERE t."org_id" = $1 ORDER BY t."user_id"`,
      [orgId],
      options,
    );
  }

  /** @returns the changed membership, or null where there is none. */
  async updateOrgUser(
    orgId: number,
    userId: number,
    changes: Partial<Pick<OrgUserRow, 'role_id' | 'status'>>,
    options?: StoreOptions,
  ): Promise<OrgUserRow | null> {
    return (await this.table.update({ org_id: orgId, user_id: userId }, { ...changes }, options))[0] ?? null;
  }

  /** @returns whether there was one. */
  async removeOrgUser(orgId: number, userId: number, options?: StoreOptions): Promise<boolean> {
    return (await this.table.remove({ org_id: orgId, user_id: userId }, options)) > 0;
  }
}

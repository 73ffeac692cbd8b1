import { ident } from '../../src/mapping/identifier.ts';

/** Who runs the servers: nobody is a superuser at a provider, and each has its own way to the right to replicate. */
export const PLATFORMS = ['plain', 'rds', 'cloudsql', 'azure'] as const;
export type Platform = (typeof PLATFORMS)[number];

/** The provider's administrators: what they may is too much for any login of ours. */
export const ADMINISTRATORS = ['rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin'] as const;

/** @returns the statements that give a login the attributes it is to have, and no other. */
export function attributes(platform: Platform, role: string, replicates: boolean): string[] {
  const name = ident(role);
  const plain = `ALTER ROLE ${name} LOGIN NOCREATEDB NOCREATEROLE INHERIT`;
  switch (platform) {
    case 'plain':
      return [
        `ALTER ROLE ${name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT ` +
          (replicates ? 'REPLICATION' : 'NOREPLICATION'),
      ];
    case 'rds':
      // rolreplication stays false there: the membership is the right.
      return [
        plain,
        `REVOKE rds_superuser FROM ${name}`,
        ...(replicates ? [`GRANT rds_replication TO ${name}`] : []),
      ];
    case 'cloudsql':
      return [
        plain,
        `REVOKE cloudsqlsuperuser FROM ${name}`,
        ...(replicates ? [`ALTER ROLE ${name} REPLICATION`] : []),
      ];
    case 'azure':
      return [
        plain,
        `REVOKE azure_pg_admin FROM ${name}`,
        ...(replicates ? [`ALTER ROLE ${name} REPLICATION`] : []),
      ];
  }
}

/** Who executes the statements that need the right to create roles. */
export const ADMINISTRATOR: Readonly<Record<Platform, string>> = {
  plain: 'a superuser',
  rds: 'the master user (rds_superuser)',
  cloudsql: 'a user of cloudsqlsuperuser',
  azure: 'a user of azure_pg_admin',
};

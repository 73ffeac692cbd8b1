import { type Migration, MigrationRefused } from './session.ts';

/**
 * On a separate green only the roles: rows come by bulk copy. In place, where `user_settings` lies beside the org
 * model, the rows move too.
 */
export const migrateUserSettingsMigration: Migration = {
  name: '057-migrate-user-settings',

  async up(m) {
    if (m.inPlace)
      throw new MigrationRefused('057 cannot move rows inside one database yet', {
        expected: 'an org model in a database of its own',
        found: 'user_settings in the same database',
        fix: 'orchestrate migrate up --to 056',
      });
    await m.query(`
      INSERT INTO ${m.org('role')} (id, name, rank)
      VALUES (1, 'admin', 1), (2, 'user', 1000)
      ON CONFLICT (id) DO NOTHING`);
    // Explicit ids do not advance an identity's sequence.
    await m.query(
      `
      SELECT setval(pg_get_serial_sequence($1, 'id'), (SELECT max(id) FROM ${m.org('role')}))`,
      [m.org('role')],
    );
  },

  async down(m) {
    await m.query(
      `TRUNCATE ${['settings', 'org_user', 'user', 'org', 'role'].map(m.org).join(', ')} RESTART IDENTITY`,
    );
  },
};

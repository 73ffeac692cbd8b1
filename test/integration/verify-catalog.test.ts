/** Definitions of tables: what voids a sweep, and what does not (HISTORIES 6). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogDigest, compareCatalog } from '../../orchestrator/verify/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { SCHEMAS } from '../support/run-context.ts';
import { execute, withClient } from '../support/sql.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await freshPair();
  await execute(pair.blue.urls.owner, `INSERT INTO user_settings (keycloak_user_id) VALUES ('a'), ('b')`);
});
afterAll(() => pair.drop());

const digest = () =>
  withClient(pair.blue.urls.sync, (client) => catalogDigest(client, { schemas: SCHEMAS }, 'blue'));

async function changesBy(sql: string): Promise<string[]> {
  const before = await digest();
  await execute(pair.blue.urls.owner, sql);
  return compareCatalog(before, await digest()).map((c) => c.what);
}

describe('a digest of definitions', () => {
  it.each([
    [
      'ALTER TYPE … USING of the same type',
      'ALTER TABLE user_settings ALTER max_iterations TYPE integer USING 0',
      ['rewritten'],
    ],
    ['VACUUM FULL', 'VACUUM FULL user_settings', ['rewritten']],
    ['TRUNCATE', 'TRUNCATE user_settings', ['rewritten']],
    ['a new column with a default', 'ALTER TABLE user_settings ADD fresh integer DEFAULT 1', ['columns']],
    [
      'a column dropped and added again',
      'ALTER TABLE user_settings DROP fresh; ALTER TABLE user_settings ADD fresh integer',
      ['columns'],
    ],
    ['a column gone', 'ALTER TABLE user_settings DROP fresh', ['columns']],
    ['a length', 'ALTER TABLE user_settings ALTER agent TYPE varchar(100)', ['columns', 'rewritten']],
    ['a default', `ALTER TABLE user_settings ALTER agent SET DEFAULT 'x'`, ['columns']],
    [
      'a trigger of somebody',
      `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
       CREATE TRIGGER t BEFORE UPDATE ON user_settings FOR EACH ROW EXECUTE FUNCTION f()`,
      ['triggers'],
    ],
    ['a trigger that is disabled', 'ALTER TABLE user_settings DISABLE TRIGGER t', ['triggers']],
    ['a replica identity', 'ALTER TABLE user_settings REPLICA IDENTITY NOTHING', ['replica identity']],
    [
      'a table put in its place',
      'ALTER TABLE user_settings RENAME TO away; CREATE TABLE user_settings (LIKE away INCLUDING ALL)',
      ['recreated', 'triggers', 'replica identity'],
    ],
    ['no table at all', 'ALTER TABLE user_settings RENAME TO gone', ['dropped']],
  ] as const)('shows %s', async (_, sql, expected) => {
    expect(await changesBy(sql)).toEqual(expected);
  });

  it('does not show what changes no row', async () => {
    await execute(pair.blue.urls.owner, 'ALTER TABLE gone RENAME TO user_settings');
    expect(await changesBy(`CREATE INDEX CONCURRENTLY i ON user_settings (email)`)).toEqual([]);
    expect(await changesBy('DROP INDEX i; ANALYZE user_settings')).toEqual([]);
    expect(await changesBy('VACUUM user_settings')).toEqual([]);
    expect(
      await changesBy(`UPDATE user_settings SET agent = 'x'; GRANT SELECT ON user_settings TO PUBLIC`),
    ).toEqual([]);
  });
});

/** Differences planted one at a time, each found with table, key and columns, and nothing else reported. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { copyRows, makeUsers, settleTable, withTextSession } from '../../orchestrator/rehearsal/generator.ts';
import { makeZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import { compareKeys } from '../../orchestrator/verify/compare-keys.ts';
import type { Mismatch } from '../../orchestrator/verify/mismatch.ts';
import { sweep } from '../../orchestrator/verify/sweep.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { copied } from '../support/green-serving.ts';
import type { TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { StillApplier } from '../support/still-applier.ts';

let pair: Pair;
let ctx: TestContext;

beforeAll(async () => {
  pair = await freshPair();
  await withTextSession(pair.blue.urls.superuser, 'zoo', 'public', async (client) => {
    await copyRows(client, makeZoo({ rows: 400, maximalId: true }));
    await copyRows(client, makeUsers({ users: 600, seed: 7, firstId: 1_000 }));
    await settleTable(client);
  });
  await execute(
    pair.blue.urls.owner,
    `UPDATE user_settings SET llm_model = '', email = NULL, agent = 'A ', language = E'caf\\u00e9',
       mcp_config = '{"a": 1, "b": 2}', accepted_tos = '2025-01-01 00:00:00.000001', billing_margin = 0
     WHERE id IN (1000, 1001)`,
  );
  ctx = await copied(pair);
  planter = new pg.Client({ connectionString: pair.green.urls.superuser });
  await planter.connect();
  await planter.query('SET session_replication_role = replica');
  await planter.query('CREATE TEMP TABLE parked_before AS SELECT * FROM orchestrator.parked');
  await planter.query(`GRANT SELECT ON parked_before TO PUBLIC`);
  await planter.query(`SET SESSION AUTHORIZATION "${pair.green.roles.sync}"`);
});

afterAll(async () => {
  await planter.end();
  await pair.drop();
});

/** Writes as nobody should be able to: past fence, triggers and foreign keys. */
let planter: pg.Client;
const plant = (sql: string) => planter.query(sql);

const sweepNow = (chunkRows = 250) =>
  sweep(ctx, { serving: 'blue', applier: new StillApplier(), workers: 2, chunkRows });

const both = async (
  keys: readonly number[],
): Promise<{ swept: readonly Mismatch[]; compared: Mismatch[] }> => {
  const result = await sweepNow();
  expect(result.clean).toBe(result.mismatches.length === 0);
  const compared = await withClient(pair.blue.urls.sync, (blue) =>
    withClient(pair.green.urls.sync, (green) => compareKeys(ctx, { blue, green }, keys, 'blue')),
  );
  return { swept: result.mismatches, compared };
};

interface Planted {
  readonly what: string;
  readonly plant: string;
  readonly mend: string;
  readonly found: readonly Mismatch[];
  /** Keys whose comparison has to find the same; default those of `found`. */
  readonly keys?: readonly number[];
}

const different = (table: Mismatch['table'], key: number, ...columns: string[]): Mismatch => ({
  table,
  key,
  kind: 'different',
  columns,
});
const settings = (what: string, column: string, value: string, id = 1000): Planted => ({
  what,
  plant: `CREATE TEMP TABLE kept_row AS SELECT * FROM public.settings WHERE id = ${id};
          UPDATE public.settings SET ${column} = ${value} WHERE id = ${id}`,
  mend: `DELETE FROM public.settings WHERE id = ${id};
         INSERT INTO public.settings SELECT * FROM kept_row; DROP TABLE kept_row`,
  found: [different('settings', id, column)],
});

const PLANTED: readonly Planted[] = [
  settings("'' becomes NULL", 'llm_model', 'NULL'),
  settings("NULL becomes ''", 'email', `''`),
  settings('a trailing space goes', 'agent', `'A'`),
  settings('NFC becomes NFD', 'language', `E'cafe\\u0301'`),
  settings('json of the same meaning, other spacing', 'mcp_config', `'{"a":1, "b": 2}'`),
  settings('json of the same meaning, other order', 'mcp_config', `'{"b": 2, "a": 1}'`),
  settings('0 becomes -0', 'billing_margin', `'-0'`),
  settings('a boolean is turned', 'enable_default_condenser', 'NOT enable_default_condenser'),
  settings('an integer is one more', 'settings_version', 'settings_version + 1'),
  settings('the organisation is another one', 'org_id', '2000000'),
  settings(
    'one byte of a 1 MB value',
    'llm_api_key',
    `overlay(llm_api_key placing chr(ascii(substr(llm_api_key, 500000, 1)) # 1) from 500000)`,
    43,
  ),
  {
    what: 'a settings row of a member',
    plant: 'UPDATE settings SET user_id = 1000 WHERE id = 1000',
    mend: 'UPDATE settings SET user_id = NULL WHERE id = 1000',
    found: [different('settings', 1000, 'user_id')],
  },
  {
    what: 'a microsecond',
    plant: `UPDATE "user" SET accepted_tos = accepted_tos + interval '1 microsecond' WHERE id = 1000`,
    mend: `UPDATE "user" SET accepted_tos = accepted_tos - interval '1 microsecond' WHERE id = 1000`,
    found: [different('user', 1000, 'accepted_tos')],
  },
  {
    what: 'the case of a key',
    plant: `UPDATE "user" SET keycloak_user_id = keycloak_user_id || ' ' WHERE id = 1001`,
    mend: `UPDATE "user" SET keycloak_user_id = left(keycloak_user_id, -1) WHERE id = 1001`,
    found: [different('user', 1001, 'keycloak_user_id')],
  },
  {
    what: 'a role of the user',
    plant: 'UPDATE "user" SET role_id = 2 WHERE id = 1001',
    mend: 'UPDATE "user" SET role_id = NULL WHERE id = 1001',
    found: [different('user', 1001, 'role_id')],
  },
  {
    what: 'a missing membership',
    plant: 'DELETE FROM org_user WHERE user_id = 1001',
    mend: `INSERT INTO org_user VALUES (1001, 1001, 1, 'active')`,
    found: [{ table: 'org_user', key: 1001, kind: 'missing', columns: [] }],
  },
  {
    what: 'another role and status of a membership',
    plant: `UPDATE org_user SET role_id = 2, status = NULL WHERE user_id = 1001`,
    mend: `UPDATE org_user SET role_id = 1, status = 'active' WHERE user_id = 1001`,
    found: [different('org_user', 1001, 'role_id', 'status')],
  },
  {
    what: 'an extra membership',
    plant: `INSERT INTO org_user VALUES (1000, 1001, 2, 'active')`,
    mend: `DELETE FROM org_user WHERE org_id = 1000 AND user_id = 1001`,
    found: [{ table: 'org_user', key: 1001, kind: 'extra', columns: [] }],
  },
  {
    what: 'an extra role',
    plant: `INSERT INTO role VALUES (3, 'owner', 0)`,
    mend: 'DELETE FROM role WHERE id = 3',
    found: [{ table: 'role', key: 3, kind: 'extra', columns: [] }],
    keys: [],
  },
  {
    what: 'a changed row that is not a user’s',
    plant: 'UPDATE role SET rank = 5 WHERE id = 2',
    mend: 'UPDATE role SET rank = 1000 WHERE id = 2',
    found: [different('role', 2, 'rank')],
    keys: [],
  },
  {
    what: 'an organisation renamed and given a contact',
    plant: `UPDATE org SET name = 'renamed', contact_email = '' WHERE id = 1001`,
    mend: `UPDATE org SET name = 'user_1001_org', contact_email = NULL WHERE id = 1001`,
    found: [different('org', 1001, 'name', 'contact_email')],
  },
  {
    what: 'an orphan: the organisation is gone',
    plant: 'DELETE FROM org WHERE id = 1001',
    mend: `INSERT INTO org (id, name) VALUES (1001, 'user_1001_org')`,
    found: [{ table: 'org', key: 1001, kind: 'missing', columns: [] }],
  },
  {
    what: 'rows nobody has on blue, below and above all ids',
    plant: `INSERT INTO org (id, name) VALUES (2147483646, 'user_2147483646_org');
            INSERT INTO settings (id, org_id) VALUES (-2147483647, 1)`,
    mend: `DELETE FROM org WHERE id = 2147483646; DELETE FROM settings WHERE id = -2147483647`,
    found: [
      { table: 'settings', key: -2147483647, kind: 'extra', columns: [] },
      { table: 'org', key: 2147483646, kind: 'extra', columns: [] },
    ],
  },
  {
    what: 'a parked row that is gone (null key)',
    plant: 'DELETE FROM orchestrator.parked WHERE id = 1',
    mend: `INSERT INTO orchestrator.parked SELECT * FROM parked_before WHERE id = 1`,
    found: [{ table: 'parked', key: 1, kind: 'missing', columns: [] }],
  },
  {
    what: 'a parked row that is gone (duplicate)',
    plant: 'DELETE FROM orchestrator.parked WHERE id = 23',
    mend: `INSERT INTO orchestrator.parked SELECT * FROM parked_before WHERE id = 23`,
    found: [{ table: 'parked', key: 23, kind: 'missing', columns: [] }],
  },
  {
    what: 'a parked row that blue does not have',
    plant: `INSERT INTO orchestrator.parked (id, user_version, enable_default_condenser,
              enable_proactive_conversation_starters, reason) VALUES (999, 0, true, true, 'null_key')`,
    mend: 'DELETE FROM orchestrator.parked WHERE id = 999',
    found: [{ table: 'parked', key: 999, kind: 'extra', columns: [] }],
  },
  {
    what: 'a parked row with another value',
    plant: `UPDATE orchestrator.parked SET user_version = user_version # 1 WHERE id = 23`,
    mend: `UPDATE orchestrator.parked SET user_version = user_version # 1 WHERE id = 23`,
    found: [different('parked', 23, 'user_version')],
  },
];

describe('a planted difference', () => {
  it('is not there to begin with, and every row is accounted for', async () => {
    const result = await sweepNow();
    const [blue] = await rows<{ n: number }>(
      pair.blue.urls.superuser,
      'SELECT count(*)::integer AS n FROM user_settings',
    );
    expect(result.mismatches).toEqual([]);
    expect(result.clean).toBe(true);
    expect(result.rowsCompared).toBe(blue?.n);
    expect(result.parked.duplicate).toBeGreaterThan(0);
    expect(result.parked.null_key).toBeGreaterThan(0);
    expect(result.parked.empty_key).toBeGreaterThan(0);
    expect(result.mapped + result.parked.duplicate + result.parked.null_key + result.parked.empty_key).toBe(
      blue?.n,
    );
  });

  it.each(PLANTED.filter((p) => p.found.length > 0))('$what', async ({ plant: sql, mend, found, keys }) => {
    await plant(sql);
    try {
      const { swept, compared } = await both(keys ?? found.map((m) => m.key));
      expect(swept).toEqual(found);
      expect(compared).toEqual(keys === undefined ? found : []);
    } finally {
      await plant(mend);
    }
    expect((await sweepNow()).mismatches).toEqual([]);
  });

  it("two users' settings swapped", async () => {
    const swap = `UPDATE settings SET id = -77, org_id = -77 WHERE id = 1001;
      UPDATE settings SET id = 1001, org_id = 1001 WHERE id = 1003;
      UPDATE settings SET id = 1003, org_id = 1003 WHERE id = -77`;
    await plant(swap);
    const { swept, compared } = await both([1001, 1003]);
    await plant(swap);
    expect(swept.map((m) => [m.table, m.key, m.kind])).toEqual([
      ['settings', 1001, 'different'],
      ['settings', 1003, 'different'],
    ]);
    expect(swept[0]?.columns).toContain('llm_api_key');
    expect(swept[0]?.columns).not.toContain('org_id');
    expect(compared).toEqual(swept);
  });

  it('a user in two places: mapped and parked', async () => {
    await plant(`INSERT INTO orchestrator.parked (id, keycloak_user_id, user_version, enable_default_condenser,
        enable_proactive_conversation_starters, reason)
      SELECT id, keycloak_user_id, 0, true, true, 'duplicate' FROM "user" WHERE id = 1001`);
    const { swept } = await both([1001]);
    await plant('DELETE FROM orchestrator.parked WHERE id = 1001');
    expect(swept.map((m) => [m.table, m.kind])).toEqual([
      ['org', 'extra'],
      ['org_user', 'extra'],
      ['parked', 'different'],
      ['settings', 'extra'],
      ['user', 'extra'],
    ]);
  });

  it('more than one difference at a time, in more than one chunk', async () => {
    await plant('DELETE FROM org_user WHERE user_id IN (5, 700, 1100); DELETE FROM settings WHERE id = 1200');
    const { swept } = await both([]);
    await plant(`INSERT INTO org_user SELECT id, id, 1, 'active' FROM unnest(ARRAY[5, 700, 1100]) AS t(id)
      WHERE EXISTS (SELECT FROM "user" AS u WHERE u.id = t.id)`);
    expect(swept.map((m) => `${m.table} ${m.key} ${m.kind}`)).toEqual([
      'org_user 5 missing',
      'org_user 1100 missing',
      'settings 1200 missing',
    ]);
  });
});

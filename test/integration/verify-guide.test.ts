/** The guide's own queries: right on a right copy, and each of them says so when it is not. */
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { copyRows, makeUsers, settleTable, withTextSession } from '../../orchestrator/rehearsal/generator.ts';
import { makeZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import { type Guide, guide } from '../../orchestrator/verify/guide.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { copied } from '../support/green-serving.ts';
import type { TestContext } from '../support/run-context.ts';
import { rows, withClient } from '../support/sql.ts';

let pair: Pair;
let ctx: TestContext;
let planter: pg.Client;

beforeAll(async () => {
  pair = await freshPair();
  await withTextSession(pair.blue.urls.superuser, 'zoo', 'public', async (client) => {
    await copyRows(client, makeZoo({ rows: 300, longestBytes: 1_000 }));
    await copyRows(client, makeUsers({ users: 500, seed: 7, firstId: 1_000 }));
    await settleTable(client);
  });
  ctx = await copied(pair);
  planter = new pg.Client({ connectionString: pair.green.urls.superuser });
  await planter.connect();
  await planter.query('SET session_replication_role = replica');
  await planter.query(`SET SESSION AUTHORIZATION "${pair.green.roles.sync}"`);
});
afterAll(async () => {
  await planter.end();
  await pair.drop();
});

const ask = (): Promise<Guide> =>
  withClient(pair.blue.urls.sync, (blue) =>
    withClient(pair.green.urls.sync, (green) => guide(blue, green, ctx.relations, { inPlace: false })),
  );
const failing = async (): Promise<string[]> => (await ask()).checks.filter((c) => !c.ok).map((c) => c.check);

it('agrees with a right copy, and shows five users by their ids', async () => {
  const { checks, sample } = await ask();
  expect(checks.filter((c) => !c.ok)).toEqual([]);
  expect(checks.length).toBe(16);
  const [blue] = await rows<{ n: string }>(
    pair.blue.urls.superuser,
    'SELECT count(*) AS n FROM user_settings',
  );
  expect(checks.find((c) => c.check.startsWith('mapped'))?.expected).toBe(blue?.n);
  expect(sample).toHaveLength(5);
  for (const s of sample)
    expect(s).toEqual({
      user_settings_id: s.user_id,
      user_id: s.user_id,
      org_id: s.user_id,
      role: 'admin',
      settings_id: s.user_id,
    });
});

it.each([
  ['UPDATE role SET rank = 2 WHERE id = 2', 'UPDATE role SET rank = 1000 WHERE id = 2', ['roles by rank']],
  [
    `UPDATE "user" SET keycloak_user_id = keycloak_user_id || 'x' WHERE id = 1000`,
    `UPDATE "user" SET keycloak_user_id = left(keycloak_user_id, -1) WHERE id = 1000`,
    ['no data loss: every key of user_settings has its user'],
  ],
  [
    'UPDATE org_user SET role_id = 2 WHERE user_id = 1000',
    'UPDATE org_user SET role_id = 1 WHERE user_id = 1000',
    ['memberships with role admin', 'users without exactly one admin membership of their own'],
  ],
  [
    'DELETE FROM org WHERE id = 1000',
    `INSERT INTO org (id, name) VALUES (1000, 'user_1000_org')`,
    ['organisations', 'memberships without an organisation', 'settings without their organisation'],
  ],
  [
    'DELETE FROM org_user WHERE user_id = 1000',
    `INSERT INTO org_user VALUES (1000, 1000, 1, 'active')`,
    [
      'memberships',
      'memberships with role admin',
      'organisations without a member',
      'users without exactly one admin membership of their own',
    ],
  ],
  [
    'UPDATE org_user SET role_id = 77 WHERE user_id = 1000',
    'UPDATE org_user SET role_id = 1 WHERE user_id = 1000',
    [
      'memberships with role admin',
      'memberships without a role',
      'users without exactly one admin membership of their own',
    ],
  ],
  [
    'UPDATE settings SET user_id = 99999 WHERE id = 1000',
    'UPDATE settings SET user_id = NULL WHERE id = 1000',
    ['settings without their user', 'users without exactly one settings row of their own'],
  ],
])('%s', async (plant, mend, expected) => {
  await planter.query(plant);
  try {
    expect(await failing()).toEqual(expected);
  } finally {
    await planter.query(mend);
  }
  expect(await failing()).toEqual([]);
});

it('misses a parked row in the account', async () => {
  await planter.query('CREATE TEMP TABLE away AS SELECT * FROM orchestrator.parked WHERE id = 1');
  await planter.query('DELETE FROM orchestrator.parked WHERE id = 1');
  expect(await failing()).toEqual(['mapped + parked by reason = all rows']);
  await planter.query('INSERT INTO orchestrator.parked SELECT * FROM away');
  expect(await failing()).toEqual([]);
});

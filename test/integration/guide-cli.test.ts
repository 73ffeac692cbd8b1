/** `verify --guide` in place: right after 057, and every query says so when the org model is not what it should be. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { GuideDocument } from '../../orchestrator/phases/guide-check.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { fill055 } from '../support/in-place.ts';
import { type Outcome, orchestrate } from '../support/in-process.ts';
import { execute, rows } from '../support/sql.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await freshPair();
  await fill055(pair, 1_500);
});
afterAll(async () => {
  await pair.drop();
});

const command = (...args: string[]): Promise<Outcome> =>
  orchestrate(args, { ORCHESTRATE_BLUE_URL: pair.blue.urls.sync });
const failing = async (): Promise<string[]> => {
  const ended = await command('verify', '--guide', '--json');
  const document = ended.json<GuideDocument>();
  expect(ended.exit).toBe(document.clean ? 0 : 3);
  return document.checks.filter((c) => !c.ok).map((c) => c.check);
};

it('before 056 there is nothing to verify: 3', async () => {
  const ended = await command('verify', '--guide', '--side', 'blue', '--json');
  expect([ended.exit, ended.json()]).toMatchObject([
    3,
    { error: { code: 'WRONG_PHASE', fix: 'orchestrate migrate up --side blue' } },
  ]);
});

it('after 057 all queries agree, the account is exact, and everybody can log in', async () => {
  expect((await command('migrate', 'up', '--side', 'blue')).exit).toBe(0);
  const ended = await command('verify', '--guide', '--json');
  const document = ended.json<GuideDocument>();
  expect(document.checks.filter((c) => !c.ok)).toEqual([]);
  expect([ended.exit, document.clean, document.in_place, document.checks.length]).toEqual([
    0,
    true,
    true,
    18,
  ]);
  const [counted] = await rows<Record<string, number>>(
    pair.blue.urls.owner,
    `SELECT count(*)::integer AS rows, count(DISTINCT nullif(keycloak_user_id, ''))::integer AS mapped,
            count(*) FILTER (WHERE keycloak_user_id IS NULL)::integer AS null_key,
            count(*) FILTER (WHERE keycloak_user_id = '')::integer AS empty_key FROM user_settings`,
  );
  const { null_key, empty_key, duplicate } = document.parked;
  expect({ rows: document.rows, mapped: document.mapped, null_key, empty_key }).toEqual(counted);
  expect(document.mapped + null_key + empty_key + duplicate).toBe(document.rows);
  expect(Math.min(null_key, empty_key, duplicate)).toBeGreaterThan(0);
  expect(document.checks.find((c) => c.check.startsWith('all users can log in'))?.expected).toBe(
    `${document.mapped} keys lead to ${document.mapped} users`,
  );
  expect(document.sample).toHaveLength(5);
  const table = await command('verify', '--guide', '--side', 'blue');
  expect(table.stdout).toMatch(
    /^✓ roles by rank\n {4}expected admin 1, user 1000 · found admin 1, user 1000\n/,
  );
  expect(table.stdout).toMatch(
    /user_settings +user +org +role +settings\n(?: +-?\d+ +-?\d+ +-?\d+ +admin +-?\d+\n){5}/,
  );
});

const LOGIN = 'all users can log in: each key through UserStore.getUserByKeycloakId';
const RIGHTS = 'permissions are preserved: each of them has one admin membership and one settings row';

it.each([
  [
    `UPDATE "user" SET keycloak_user_id = keycloak_user_id || 'x' WHERE id = 1000`,
    `UPDATE "user" SET keycloak_user_id = left(keycloak_user_id, -1) WHERE id = 1000`,
    [LOGIN, RIGHTS],
  ],
  [
    'UPDATE org_user SET role_id = 2 WHERE user_id = 1000',
    'UPDATE org_user SET role_id = 1 WHERE user_id = 1000',
    [RIGHTS],
  ],
  [
    'INSERT INTO org_user SELECT 1000, max(id), 1 FROM "user"',
    'DELETE FROM org_user WHERE org_id = 1000 AND user_id <> 1000',
    [RIGHTS],
  ],
  [
    'UPDATE settings SET user_id = 1000 WHERE id = 1000',
    'UPDATE settings SET user_id = NULL WHERE id = 1000',
    [RIGHTS],
  ],
])('%s', async (plant, mend, expected) => {
  await execute(pair.blue.urls.owner, plant);
  try {
    expect((await failing()).filter((check) => [LOGIN, RIGHTS].includes(check))).toEqual(expected);
  } finally {
    await execute(pair.blue.urls.owner, mend);
  }
  expect(await failing()).toEqual([]);
});

it('a row that came after 057 has no user: the account and the login say so', async () => {
  await execute(pair.blue.urls.app, `INSERT INTO user_settings (keycloak_user_id) VALUES ('late')`);
  expect(await failing()).toEqual([
    'users against user_settings with a key',
    'mapped + parked by reason = all rows',
    'no data loss: every key of user_settings has its user',
    LOGIN,
    RIGHTS,
  ]);
});

/** HISTORIES 26: whose organisation and settings row are a user's own, when the ids differ and names change. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freshPair, type Pair } from '../support/databases.ts';
import { blueRow, type GreenServing, greenServing } from '../support/green-serving.ts';
import { execute, rows } from '../support/sql.ts';

let pair: Pair;
let side: GreenServing;

beforeAll(async () => {
  pair = await freshPair();
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language, user_version)
     VALUES (1, 'one', 'en', 4), (2, 'two', 'de', 3), (3, 'three', 'fr', 2), (4, 'four', 'nl', 2), (5, 'five', 'da', 2)`,
  );
  side = await greenServing(pair);
});
afterAll(async () => {
  await side?.stop();
  await pair?.drop();
});

const links = () =>
  rows<{ k: number; org_id: number | null; settings_id: number | null }>(
    pair.green.urls.superuser,
    'SELECT k, org_id, settings_id FROM orchestrator.link ORDER BY k',
  );
const linkOf = async (k: number) => (await links()).find((l) => l.k === k);
const divergedOf = async (k: number) =>
  (
    await rows<{ table_name: string }>(
      pair.green.urls.superuser,
      'SELECT table_name FROM orchestrator.diverged WHERE k = $1 ORDER BY table_name',
      [k],
    )
  ).map((r) => r.table_name);

/** A sign-up in one transaction, in the order of the store: user, organisation, membership, settings. */
const signUp = (k: number, org: number, settings: number, language: string) => `
  BEGIN;
  INSERT INTO "user" (id, keycloak_user_id) VALUES (${k}, 'person-${k}');
  INSERT INTO org (id, name) VALUES (${org}, 'user_${k}_org');
  INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (${org}, ${k}, 1, 'active');
  INSERT INTO settings (id, org_id, language, settings_version) VALUES (${settings}, ${org}, '${language}', 4);
  COMMIT;`;

test('a user born on green reaches blue whole, with id = user.id, and is linked', async () => {
  await side.green(signUp(9001, 4711, 5311, 'ja'));
  await side.drained();
  expect(await linkOf(9001)).toEqual({ k: 9001, org_id: 4711, settings_id: 5311 });
  expect(await blueRow(pair, 9001)).toMatchObject({
    id: '9001',
    keycloak_user_id: 'person-9001',
    language: 'ja',
    user_version: '4',
  });
  expect(await divergedOf(9001)).toEqual([]);
});

test('no copied user has a link row', async () => {
  await side.green(`UPDATE settings SET language = 'es' WHERE id = 2`);
  await side.drained();
  expect((await links()).filter((l) => l.k < 10)).toEqual([]);
  expect(await blueRow(pair, 2)).toMatchObject({ language: 'es', user_version: '3' });
});

test('a renamed organisation stays the own one: no NULLs go to blue', async () => {
  await side.green(signUp(9010, 4720, 5320, 'pt'));
  await side.drained();
  await side.green(`
    UPDATE org SET name = 'Acme' WHERE id = 4720;
    UPDATE settings SET agent = 'after the rename' WHERE id = 5320`);
  await side.drained();
  expect(await blueRow(pair, 9010)).toMatchObject({ language: 'pt', agent: 'after the rename' });
  expect(await linkOf(9010)).toEqual({ k: 9010, org_id: 4720, settings_id: 5320 });
  expect(await divergedOf(9010)).toEqual(['org']);
});

test('renamed before the stream got there: the event says what the table no longer does', async () => {
  await side.applier.stop();
  await side.green(signUp(9020, 4730, 5330, 'it'));
  await side.green(`UPDATE org SET name = 'Renamed at once' WHERE id = 4730`);
  const { reverseStream } = await import('../support/green-serving.ts');
  side = await reverseStream(pair, side.ctx);
  await side.drained();
  expect(await linkOf(9020)).toEqual({ k: 9020, org_id: 4730, settings_id: 5330 });
  expect(await blueRow(pair, 9020)).toMatchObject({ language: 'it' });
});

test("user 4711, invited into org 4711, is not taken for that organisation's owner", async () => {
  await side.green(`
    INSERT INTO "user" (id, keycloak_user_id) VALUES (4711, 'the-guest');
    INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (4711, 4711, 1, 'active')`);
  await side.drained();
  expect(await linkOf(4711)).toEqual({ k: 4711, org_id: null, settings_id: null });
  expect(await blueRow(pair, 4711)).toMatchObject({ keycloak_user_id: 'the-guest', language: null });
  await side.green(`UPDATE settings SET language = 'ko' WHERE id = 5311`);
  await side.drained();
  expect(await blueRow(pair, 4711)).toMatchObject({ language: null });
  expect(await blueRow(pair, 9001)).toMatchObject({ language: 'ko' });
});

test('user 5311, whose number is a settings row of somebody else, does not get his preferences', async () => {
  await side.green(signUp(5311, 6001, 6002, 'sv'));
  await side.green(`UPDATE settings SET agent = 'of 9001' WHERE id = 5311`);
  await side.drained();
  expect(await blueRow(pair, 5311)).toMatchObject({ language: 'sv', agent: null });
  expect(await blueRow(pair, 9001)).toMatchObject({ agent: 'of 9001' });
});

describe('in pieces', () => {
  test('one transaction a row, in whatever order foreign keys allow', async () => {
    await side.green(`INSERT INTO org (id, name) VALUES (7100, 'user_9100_org')`);
    await side.green(`INSERT INTO settings (id, org_id, language) VALUES (7101, 7100, 'nl')`);
    await side.drained();
    await side.green(`INSERT INTO "user" (id, keycloak_user_id) VALUES (9100, 'piecemeal')`);
    await side.drained();
    expect(await linkOf(9100)).toEqual({ k: 9100, org_id: null, settings_id: null });
    await side.green(
      `INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (7100, 9100, 1, 'active')`,
    );
    await side.drained();
    expect(await linkOf(9100)).toEqual({ k: 9100, org_id: 7100, settings_id: 7101 });
    expect(await blueRow(pair, 9100)).toMatchObject({ keycloak_user_id: 'piecemeal', language: 'nl' });
  });

  test('settings that come last are found when they come', async () => {
    await side.green(`INSERT INTO "user" (id, keycloak_user_id) VALUES (9110, 'late settings')`);
    await side.green(`
      INSERT INTO org (id, name) VALUES (7110, 'user_9110_org');
      INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (7110, 9110, 1, 'active')`);
    await side.drained();
    expect(await linkOf(9110)).toEqual({ k: 9110, org_id: 7110, settings_id: null });
    await side.green(`INSERT INTO settings (id, org_id, language) VALUES (7111, 7110, 'da')`);
    await side.drained();
    expect(await linkOf(9110)).toEqual({ k: 9110, org_id: 7110, settings_id: 7111 });
    expect(await blueRow(pair, 9110)).toMatchObject({ language: 'da' });
  });

  test('an organisation that gets its name only after the membership', async () => {
    await side.green(`
      INSERT INTO "user" (id, keycloak_user_id) VALUES (9120, 'renamed into place');
      INSERT INTO org (id, name) VALUES (7120, 'temporary');
      INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (7120, 9120, 1, 'active');
      INSERT INTO settings (id, org_id, language) VALUES (7121, 7120, 'fi')`);
    await side.drained();
    await side.green(`UPDATE org SET name = 'user_9120_org' WHERE id = 7120`);
    await side.drained();
    expect(await linkOf(9120)).toEqual({ k: 9120, org_id: 7120, settings_id: 7121 });
    expect(await blueRow(pair, 9120)).toMatchObject({ language: 'fi' });
  });

  test('a plain member of the organisation of his name becomes its admin later', async () => {
    await side.green(`
      INSERT INTO "user" (id, keycloak_user_id) VALUES (9130, 'promoted');
      INSERT INTO org (id, name) VALUES (7130, 'user_9130_org');
      INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (7130, 9130, 2, 'active')`);
    await side.drained();
    expect(await linkOf(9130)).toMatchObject({ org_id: null });
    await side.green(`UPDATE org_user SET role_id = 1 WHERE user_id = 9130`);
    await side.drained();
    expect(await linkOf(9130)).toMatchObject({ org_id: 7130 });
  });

  test("a copied user's organisation, renamed to a newcomer's name, stays the copied user's", async () => {
    await side.green(`
      INSERT INTO "user" (id, keycloak_user_id) VALUES (9140, 'the thief');
      INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (1, 9140, 1, 'active');
      UPDATE org SET name = 'user_9140_org' WHERE id = 1`);
    await side.drained();
    expect(await linkOf(9140)).toMatchObject({ org_id: null });
    expect(await blueRow(pair, 9140)).toMatchObject({ language: null });
    expect(await divergedOf(1)).toEqual(['org']);
  });
});

test('the settings row of an own organisation, deleted and made anew, is followed', async () => {
  await side.green(`
    DELETE FROM settings WHERE id = 3;
    INSERT INTO settings (id, org_id, language, settings_version) VALUES (8003, 3, 'pl', 9)`);
  await side.drained();
  expect(await linkOf(3)).toEqual({ k: 3, org_id: 3, settings_id: 8003 });
  expect(await blueRow(pair, 3)).toMatchObject({ language: 'pl', user_version: '9' });
});

test('deleted and born again: the link is the new one', async () => {
  await side.green(signUp(9200, 7200, 7201, 'cs'));
  await side.drained();
  await side.green(`
    DELETE FROM settings WHERE id = 7201; DELETE FROM org_user WHERE user_id = 9200;
    DELETE FROM "user" WHERE id = 9200; DELETE FROM org WHERE id = 7200`);
  await side.drained();
  expect(await blueRow(pair, 9200)).toBeUndefined();
  expect(await linkOf(9200)).toBeUndefined();
  await side.green(signUp(9200, 7210, 7211, 'hu'));
  await side.drained();
  expect(await linkOf(9200)).toEqual({ k: 9200, org_id: 7210, settings_id: 7211 });
  expect(await blueRow(pair, 9200)).toMatchObject({ language: 'hu' });
});

describe('a copied user whose own organisation is replaced keeps the preferences that were never deleted', () => {
  const replace = (k: number, org: number, language: string) => `
    INSERT INTO org (id, name) VALUES (${org}, 'Replaced ${k}');
    UPDATE settings SET org_id = ${org}, language = '${language}' WHERE id = ${k};
    INSERT INTO org_user (org_id, user_id, role_id, status) VALUES (${org}, ${k}, 1, 'active');
    DELETE FROM org_user WHERE org_id = ${k};`;

  test('in one transaction', async () => {
    await side.green(`BEGIN; ${replace(4, 7304, 'ro')} DELETE FROM org WHERE id = 4; COMMIT`);
    await side.drained();
    expect(await blueRow(pair, 4)).toMatchObject({ language: 'ro', user_version: '2' });
  });

  test('in several, and what is written later arrives too', async () => {
    for (const statement of replace(5, 7305, 'sk')
      .split(';')
      .filter((text) => text.trim() !== '')) {
      await side.green(statement);
      await side.drained();
    }
    await side.green('DELETE FROM org WHERE id = 5');
    await side.drained();
    expect(await blueRow(pair, 5)).toMatchObject({ language: 'sk' });
    await side.green(`UPDATE settings SET language = 'sl' WHERE id = 5`);
    await side.drained();
    expect(await blueRow(pair, 5)).toMatchObject({ language: 'sl' });
  });
});

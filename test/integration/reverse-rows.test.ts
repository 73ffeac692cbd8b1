/** What the reverse stream does to blue's rows: deletes, moves, keys, members, heirs, TRUNCATE (HISTORIES 27–29). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadValueZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import { notRevertible } from '../../orchestrator/stream/not-revertible.ts';
import { fillVacantKeys, vacantKeys } from '../../orchestrator/stream/vacant.ts';
import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import {
  blueRow,
  blueRows,
  copied,
  type GreenServing,
  greenInverse,
  greenServing,
  parkedRows,
} from '../support/green-serving.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
let side: GreenServing | undefined;

beforeEach(async () => {
  pair = await freshPair();
});
afterEach(async () => {
  await side?.stop();
  side = undefined;
  await pair.drop();
});

/** Rows 1 to 6 with keys of their own; 40 without a key, 41 with an empty one, 3000 a duplicate of 1. */
async function serve(): Promise<GreenServing> {
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language, llm_api_key, user_version)
     SELECT i, 'key-' || i, 'en', 'secret-' || i, 4 FROM generate_series(1, 6) AS i;
     INSERT INTO user_settings (id, keycloak_user_id, language)
     VALUES (40, NULL, 'parked'), (41, '', 'parked'), (3000, 'key-1', 'parked')`,
  );
  side = await greenServing(pair);
  return side;
}

const leave = (k: number) => `
  DELETE FROM org_user WHERE user_id = ${k}; DELETE FROM settings WHERE org_id = ${k};
  DELETE FROM "user" WHERE id = ${k}; DELETE FROM org WHERE id = ${k};`;

/** blue = inverse(green) ∪ parked, text for text. */
async function expectBlueIsInverse({ ctx }: GreenServing): Promise<void> {
  const expected = [...(await greenInverse(pair, ctx)), ...(await parkedRows(pair))].sort(
    (a, b) => Number(a[0]) - Number(b[0]),
  );
  expect(expected.length).toBeGreaterThan(0);
  expect(await blueRows(pair)).toEqual(expected);
}

describe('deletes', () => {
  test('a user that is deleted on green is deleted on blue; parked rows keep their bytes', async () => {
    const s = await serve();
    const parked = await parkedRows(pair);
    expect(parked.map(([id]) => id)).toEqual(['40', '41', '3000']);
    await s.green(leave(2));
    await s.drained();
    expect((await blueRows(pair)).map(([id]) => id)).toEqual(['1', '3', '4', '5', '6', '40', '41', '3000']);
    expect((await blueRows(pair)).slice(-3)).toEqual(parked);
    await expectBlueIsInverse(s);
  });

  test('a deleted settings row says whose it was: the preferences go, the user stays', async () => {
    const s = await serve();
    // A row whose id is not its owner's: with default identity the event would say no more than 8001.
    await s.green(`
      INSERT INTO "user" (id, keycloak_user_id) VALUES (7001, 'born');
      INSERT INTO org (id, name) VALUES (7501, 'user_7001_org');
      INSERT INTO org_user VALUES (7501, 7001, 1, 'active');
      INSERT INTO settings (id, org_id, language, settings_version) VALUES (8001, 7501, 'no', 3)`);
    await s.drained();
    expect(await blueRow(pair, 7001)).toMatchObject({ language: 'no', user_version: '3' });
    await s.green('DELETE FROM settings WHERE id = 8001; DELETE FROM settings WHERE id = 3');
    await s.drained();
    expect(await blueRow(pair, 7001)).toMatchObject({
      keycloak_user_id: 'born',
      language: null,
      user_version: '0',
    });
    expect(await blueRow(pair, 3)).toMatchObject({
      keycloak_user_id: 'key-3',
      llm_api_key: null,
      user_version: '0',
    });
    await expectBlueIsInverse(s);
  });

  test('an event of org 40, whose blue row lost its key before the cutover, deletes nothing', async () => {
    await execute(
      pair.blue.urls.owner,
      `INSERT INTO user_settings (id, keycloak_user_id, language)
       VALUES (1, 'key-1', 'en'), (40, NULL, 'mine'), (41, 'once deleted', 'mine')`,
    );
    side = await greenServing(pair);
    const before = await blueRows(pair);
    // Green still has, or gets, an organisation and settings of that number; there is no user 40.
    await side.green(`
      INSERT INTO org (id, name) VALUES (40, 'a left-over'); UPDATE org SET name = 'left over' WHERE id = 40;
      INSERT INTO settings (id, org_id, language) VALUES (40, 40, 'x');
      DELETE FROM settings WHERE id = 40; DELETE FROM org WHERE id = 40`);
    await side.drained();
    expect(await blueRows(pair)).toEqual(before);
    // Even a delete event of a user of that number leaves a parked row alone.
    await side.green(`INSERT INTO "user" (id, keycloak_user_id) VALUES (40, 'squatter')`);
    await side.drained();
    expect(await blueRows(pair)).toEqual(before);
    await side.green('DELETE FROM "user" WHERE id = 40');
    await side.drained();
    expect(await blueRows(pair)).toEqual(before);
  });

  test('deleted and signed up again under the same id, in one transaction or two', async () => {
    const s = await serve();
    const again = (k: number, language: string) => `
      INSERT INTO "user" (id, keycloak_user_id) VALUES (${k}, 'again-${k}');
      INSERT INTO org (id, name) VALUES (${k}, 'user_${k}_org');
      INSERT INTO org_user VALUES (${k}, ${k}, 1, 'active');
      INSERT INTO settings (id, org_id, language) VALUES (${k}, ${k}, '${language}');`;
    await s.green(`BEGIN; ${leave(4)} ${again(4, 'lv')} COMMIT`);
    await s.green(leave(5));
    await s.green(again(5, 'lt'));
    await s.drained();
    expect(await blueRow(pair, 4)).toMatchObject({ keycloak_user_id: 'again-4', language: 'lv' });
    expect(await blueRow(pair, 5)).toMatchObject({ keycloak_user_id: 'again-5', language: 'lt' });
    await expectBlueIsInverse(s);
  });
});

test('keys swapped and ids moved on green arrive on blue', async () => {
  const s = await serve();
  await s.green(`
    BEGIN;
    UPDATE "user" SET keycloak_user_id = 'hold' WHERE id = 1;
    UPDATE "user" SET keycloak_user_id = 'key-1' WHERE id = 2;
    UPDATE "user" SET keycloak_user_id = 'key-2' WHERE id = 1;
    COMMIT;
    BEGIN;
    DELETE FROM org_user WHERE user_id = 6;
    UPDATE "user" SET id = 600 WHERE id = 6;
    INSERT INTO org_user VALUES (6, 600, 1, 'active');
    COMMIT`);
  await s.drained();
  expect(await blueRow(pair, 1)).toMatchObject({ keycloak_user_id: 'key-2' });
  expect(await blueRow(pair, 2)).toMatchObject({ keycloak_user_id: 'key-1' });
  expect(await blueRow(pair, 6)).toBeUndefined();
  expect(await blueRow(pair, 600)).toMatchObject({ keycloak_user_id: 'key-6', llm_api_key: 'secret-6' });
  await expectBlueIsInverse(s);
});

test('a row that does not change on blue is not written there', async () => {
  const s = await serve();
  const versions = () =>
    rows(pair.blue.urls.superuser, 'SELECT id, xmin::text, ctid::text FROM user_settings ORDER BY id');
  const before = await versions();
  await s.green(`
    UPDATE org SET contact_name = 'somebody' WHERE id = 1;
    UPDATE settings SET language = language WHERE id < 7;
    INSERT INTO org_user VALUES (2, 3, 2, 'invited')`);
  await s.drained();
  expect(await versions()).toEqual(before);
});

test('what the old schema cannot express stays on green, is listed by kind and journaled without values', async () => {
  const s = await serve();
  await s.green(`
    INSERT INTO org (id, name) VALUES (500, 'Extra Ltd');
    INSERT INTO org_user VALUES (500, 1, 1, 'active'), (2, 3, 2, 'invited');
    UPDATE org SET name = 'Two Ltd' WHERE id = 2;
    UPDATE org_user SET role_id = 2 WHERE org_id = 4 AND user_id = 4;
    UPDATE "user" SET role_id = 2 WHERE id = 5;
    INSERT INTO settings (id, org_id, user_id, language) VALUES (900, 2, 3, 'eo');
    DELETE FROM org_user WHERE org_id = 6`);
  await s.drained();
  await expectBlueIsInverse(s);
  const found = await withClient(pair.green.urls.sync, (client) => notRevertible(client, s.ctx));
  expect(Object.fromEntries(found.map((f) => [f.kind, f.ids]))).toEqual({
    extra_organisations: [500],
    second_members: [1, 3],
    changed_organisations: [2],
    changed_memberships: [4],
    missing_memberships: [6],
    user_roles: [5],
    member_settings: [900],
  });
  const diverged = await rows(
    pair.green.urls.superuser,
    'SELECT table_name, k FROM orchestrator.diverged ORDER BY k, table_name',
  );
  expect(diverged).toEqual([
    { table_name: 'org', k: 2 },
    { table_name: 'org_user', k: 4 },
    { table_name: 'user', k: 5 },
    { table_name: 'org_user', k: 6 },
  ]);
  const entries = s.ctx.entries.filter((e) => e.event === 'not-revertible');
  expect(entries.length).toBeGreaterThan(0);
  expect(JSON.stringify(entries)).not.toMatch(/Ltd|eo/);
});

test('while green serves nobody inherits; a revert gives a vacant key to the lowest parked row, and only then', async () => {
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language)
     VALUES (100, 'K', 'en'), (3000, 'K', 'first heir'), (3001, 'K', 'second'), (200, 'L', 'en'), (3100, 'L', 'x')`,
  );
  side = await greenServing(pair);
  await side.green(leave(100));
  await side.green(leave(200));
  // The person of L signs up again as 5000: its key is not vacant, so 3100 stays parked (HISTORIES 29).
  await side.green(`
    INSERT INTO "user" (id, keycloak_user_id) VALUES (5000, 'L');
    INSERT INTO org (id, name) VALUES (5001, 'user_5000_org');
    INSERT INTO org_user VALUES (5001, 5000, 1, 'active');
    INSERT INTO settings (id, org_id, language) VALUES (5002, 5001, 'new')`);
  await side.drained();
  expect((await parkedRows(pair)).map(([id]) => id)).toEqual(['3000', '3001', '3100']);
  expect((await blueRows(pair)).map(([id]) => id)).toEqual(['3000', '3001', '3100', '5000']);
  const { ctx } = side;
  await withClient(pair.green.urls.sync, async (green) => {
    expect(await vacantKeys(green, ctx)).toEqual([3000]);
    expect(await fillVacantKeys(green, ctx)).toEqual([3000]);
    expect(await fillVacantKeys(green, ctx)).toEqual([]);
  });
  await side.drained();
  expect((await parkedRows(pair)).map(([id]) => id)).toEqual(['3001', '3100']);
  expect(await blueRow(pair, 3000)).toMatchObject({ keycloak_user_id: 'K', language: 'first heir' });
  await expectBlueIsInverse(side);
});

describe('TRUNCATE on green', () => {
  test('of settings: every user loses his preferences, nobody his row', async () => {
    const s = await serve();
    await s.green('TRUNCATE settings');
    await s.drained();
    expect((await blueRows(pair)).length).toBe(9);
    expect(await blueRow(pair, 1)).toMatchObject({ keycloak_user_id: 'key-1', language: null });
    expect(await blueRow(pair, 3000)).toMatchObject({ language: 'parked' });
    await expectBlueIsInverse(s);
    expect(s.ctx.entries.filter((e) => e.event === 'truncate')).toEqual([
      { event: 'truncate', detail: { side: 'green', tables: ['settings'] } },
    ]);
  });

  test('of everything, with a sign-up in the same transaction: only parked rows and the new one are left', async () => {
    const s = await serve();
    await s.green(`
      BEGIN;
      TRUNCATE org, "user" CASCADE;
      INSERT INTO "user" (id, keycloak_user_id) VALUES (9, 'afterwards');
      INSERT INTO org (id, name) VALUES (90, 'user_9_org');
      INSERT INTO org_user VALUES (90, 9, 1, 'active');
      INSERT INTO settings (id, org_id, language) VALUES (91, 90, 'ga');
      COMMIT`);
    await s.drained();
    expect((await blueRows(pair)).map(([id]) => id)).toEqual(['9', '40', '41', '3000']);
    expect(await blueRow(pair, 9)).toMatchObject({ language: 'ga' });
    await expectBlueIsInverse(s);
  });
});

test('a zoo of values comes back text for text after every row was rewritten on green', async () => {
  await withClient(pair.blue.urls.owner, (client) =>
    loadValueZoo(client, { rows: 320, longestBytes: 300_000 }),
  );
  side = await greenServing(pair);
  const before = await blueRows(pair);
  expect(before.length).toBeGreaterThan(300);
  // Blue is spoiled behind everybody's back; whatever the stream touches has to be what green says.
  await execute(pair.blue.urls.superuser, 'ALTER TABLE user_settings DISABLE TRIGGER orchestrate_fence');
  const facts = SOURCE_COLUMNS.filter((c) => c.home !== 'key' && !c.notNull).map((c) => `"${c.name}" = NULL`);
  const parked = (await parkedRows(pair)).map(([id]) => id);
  await execute(
    pair.blue.urls.superuser,
    `UPDATE user_settings SET ${facts.join(', ')}, user_version = -7 WHERE id <> ALL ('{${parked.join(',')}}')`,
  );
  expect(await blueRows(pair)).not.toEqual(before);
  await side.green('UPDATE settings SET settings_version = settings_version');
  await side.drained();
  expect(await blueRows(pair)).toEqual(before);
});

test('a change of green before L is not applied again', async () => {
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (1, 'one', 'en'), (2, 'two', 'en')`,
  );
  const { prepareReverse } = await import('../../orchestrator/stream/reverse-setup.ts');
  const { cutOver, reverseStream } = await import('../support/green-serving.ts');
  const ctx = await copied(pair);
  await prepareReverse(ctx);
  // As the forward applier deletes a user whose row on blue lost its key: before L, and the row stays.
  await execute(pair.green.urls.sync, leave(2));
  await cutOver(pair, ctx);
  side = await reverseStream(pair, ctx);
  // The organisation of that number marks key 2, too: a mark without a user changes nothing.
  await side.green(`
    UPDATE settings SET language = 'de' WHERE id = 1;
    INSERT INTO org (id, name) VALUES (2, 'two'); DELETE FROM org WHERE id = 2`);
  await side.drained();
  expect((await blueRows(pair)).map(([id]) => id)).toEqual(['1', '2']);
  expect(await blueRow(pair, 1)).toMatchObject({ language: 'de' });
});

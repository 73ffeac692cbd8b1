/**
 * Forward, back, forward, back: random writes on whichever side serves, with users born on either, keys that are
 * shared, lost and found, organisations renamed, members invited. After each drain both sides hold the same facts (I1,
 * I7), and after a revert no key is vacant that a parked row has (HISTORIES 26, 28–30).
 */
import { afterEach, expect, test } from 'vitest';
import { createRandom, type Random } from '../../orchestrator/rehearsal/generator/random.ts';
import { Applier } from '../../orchestrator/stream/applier.ts';
import { forwardSink } from '../../orchestrator/stream/apply.ts';
import { prepareReverse } from '../../orchestrator/stream/reverse-setup.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import {
  blueRows,
  copied,
  cutOver,
  drained,
  greenInverse,
  parkedRows,
  reverseStream,
  revert,
} from '../support/green-serving.ts';
import type { TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
let running: { stop(): Promise<unknown> } | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await pair.drop();
});

/** Keys that several people want, and some that nobody else has. */
function key(random: Random): string {
  const n = random.between(1, 14);
  return n === 14 ? `'only ${random.secret(6)}'` : n === 13 ? `''` : n === 12 ? 'NULL' : `'shared ${n}'`;
}

async function writeBlue(random: Random): Promise<void> {
  const [state] = await rows<{ ids: number[]; top: number }>(
    pair.blue.urls.superuser,
    `SELECT coalesce(array_agg(id ORDER BY id), '{}') AS ids, coalesce(max(id), 0) AS top FROM user_settings`,
  );
  const ids = [...(state?.ids ?? [])];
  // Above everything of either side, as aligned sequences are.
  let top = Math.max(state?.top ?? 0, await highest());
  await withClient(pair.blue.urls.app, async (client) => {
    for (let i = 0; i < 25; i += 1) {
      const id = ids.length === 0 ? 0 : random.pick(ids);
      const dice = random.between(1, 100);
      if (dice <= 25) {
        top += random.between(1, 3);
        ids.push(top);
        await client.query(
          `INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (${top}, ${key(random)}, 'b${top}')`,
        );
      } else if (dice <= 60)
        await client.query(`UPDATE user_settings SET language = 'w${i}' WHERE id = ${id}`);
      else if (dice <= 75)
        await client.query(`UPDATE user_settings SET keycloak_user_id = ${key(random)} WHERE id = ${id}`);
      else if (dice <= 82)
        await client.query(
          `UPDATE user_settings SET user_version = user_version + 1, agent = 'all' WHERE id % 3 = 0`,
        );
      else await client.query(`DELETE FROM user_settings WHERE id = ${id}`);
    }
  });
}

async function highest(): Promise<number> {
  const [row] = await rows<{ top: number }>(
    pair.green.urls.superuser,
    `SELECT greatest((SELECT max(id) FROM "user"), (SELECT max(id) FROM org), (SELECT max(id) FROM settings),
                     (SELECT max(id) FROM orchestrator.parked), 0) AS top`,
  );
  const [blue] = await rows<{ top: number }>(
    pair.blue.urls.superuser,
    'SELECT coalesce(max(id), 0) AS top FROM user_settings',
  );
  return Math.max(row?.top ?? 0, blue?.top ?? 0);
}

async function writeGreen(random: Random): Promise<void> {
  const top = await highest();
  let [user, org, settings] = [top, top + random.between(0, 3), top + random.between(0, 3)];
  await withClient(pair.green.urls.app, async (client) => {
    for (let i = 0; i < 25; i += 1) {
      const { rows: people } = await client.query<{ id: number }>(
        'SELECT id FROM "user" ORDER BY md5(id::text || $1) LIMIT 2',
        [random.secret(4)],
      );
      const [k, guest] = people.map((p) => p.id);
      const dice = random.between(1, 100);
      if (dice <= 30 || k === undefined) {
        user += 1;
        org += random.between(1, 2);
        settings += 1;
        await client.query(`
          BEGIN;
          INSERT INTO "user" (id, keycloak_user_id) VALUES (${user}, 'g ${user} ${random.secret(3)}');
          INSERT INTO org (id, name) VALUES (${org}, 'user_${user}_org') ON CONFLICT (name) DO NOTHING;
          INSERT INTO org_user SELECT id, ${user}, 1, 'active' FROM org WHERE name = 'user_${user}_org';
          INSERT INTO settings (id, org_id, language) SELECT ${settings}, id, 'g' FROM org WHERE name = 'user_${user}_org'
          ON CONFLICT DO NOTHING;
          COMMIT`);
      } else if (dice <= 50)
        await client.query(
          `UPDATE settings SET language = 'g${i}' WHERE org_id IN (SELECT org_id FROM org_user WHERE user_id = ${k})`,
        );
      else if (dice <= 60)
        await client.query(
          `UPDATE org SET name = 'renamed ' || id || '-${random.secret(4)}' WHERE id IN (SELECT org_id FROM org_user WHERE user_id = ${k})`,
        );
      else if (dice <= 68)
        await client.query(
          `INSERT INTO org_user SELECT org_id, ${guest ?? k}, 2, 'invited' FROM org_user WHERE user_id = ${k} ON CONFLICT DO NOTHING`,
        );
      else if (dice <= 74) {
        settings += 1;
        await client.query(`
          INSERT INTO settings (id, org_id, user_id, language)
          SELECT ${settings}, org_id, ${k}, 'mine' FROM org_user WHERE user_id = ${k} LIMIT 1 ON CONFLICT DO NOTHING`);
      } else if (dice <= 80) {
        org += 1;
        await client.query(`INSERT INTO org (id, name) VALUES (${org}, 'extra ${org} ${random.secret(3)}')`);
      } else if (dice <= 85)
        await client.query(
          `UPDATE "user" SET keycloak_user_id = 'rekeyed ${random.secret(6)}' WHERE id = ${k}`,
        );
      else if (dice <= 90)
        await client.query(
          `DELETE FROM settings WHERE user_id IS NULL AND org_id IN (SELECT org_id FROM org_user WHERE user_id = ${k} AND role_id = 1)`,
        );
      else
        await client.query(`
          BEGIN;
          DELETE FROM settings WHERE user_id = ${k} OR org_id IN
            (SELECT org_id FROM org_user WHERE user_id = ${k} AND role_id = 1);
          CREATE TEMP TABLE left_behind ON COMMIT DROP AS
            SELECT org_id FROM org_user WHERE user_id = ${k} AND role_id = 1;
          DELETE FROM org_user WHERE user_id = ${k} OR org_id IN (SELECT org_id FROM left_behind);
          DELETE FROM "user" WHERE id = ${k};
          ${random.chance(0.5) ? 'DELETE FROM org WHERE id IN (SELECT org_id FROM left_behind);' : ''}
          COMMIT`);
    }
  });
}

async function expectSameFacts(ctx: TestContext, when: string): Promise<void> {
  const expected = [...(await greenInverse(pair, ctx)), ...(await parkedRows(pair))];
  expect(expected.length).toBeGreaterThan(5);
  expect({ when, rows: await blueRows(pair) }).toEqual({
    when,
    rows: expected.sort((a, b) => Number(a[0]) - Number(b[0])),
  });
}

const VACANT = `
  SELECT p.id FROM orchestrator.parked AS p
  WHERE p.keycloak_user_id <> '' AND NOT EXISTS
    (SELECT FROM "user" AS u WHERE u.keycloak_user_id = p.keycloak_user_id)`;

test.each(['1', '6', '7'])('round trips %s', { timeout: 240_000 }, async (seed) => {
  pair = await freshPair();
  const random = createRandom(`round-trips/${seed}`);
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language)
     SELECT i, CASE WHEN i % 7 = 0 THEN NULL ELSE 'shared ' || i % 12 END, 'en' FROM generate_series(1, 24) AS i`,
  );
  const ctx = await copied(pair);
  await prepareReverse(ctx);
  for (let round = 1; round <= 3; round += 1) {
    const forward = new Applier(ctx, 'forward', forwardSink(ctx, { mode: 'syncing' }));
    await forward.start();
    running = forward;
    for (let n = 0; n < 2; n += 1) await writeBlue(random);
    await drained(pair, ctx, forward, 'blue');
    await expectSameFacts(ctx, `round ${round}, blue serves`);
    expect(await rows(pair.green.urls.superuser, VACANT)).toEqual([]);
    await forward.stop();

    await cutOver(pair, ctx);
    const back = await reverseStream(pair, ctx, { maxChanges: random.between(3, 60) });
    running = back;
    for (let n = 0; n < 2; n += 1) await writeGreen(random);
    await back.drained();
    await expectSameFacts(ctx, `round ${round}, green serves`);
    await back.stop();
    running = undefined;

    await revert(pair, ctx);
    await expectSameFacts(ctx, `round ${round}, reverted`);
    expect(await rows(pair.green.urls.superuser, VACANT)).toEqual([]);
  }
});

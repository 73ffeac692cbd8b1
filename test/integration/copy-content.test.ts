/** Copy and build on real servers: everything arrives, nothing is changed, and green is as revision 056 made it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readCopyProgress } from '../../orchestrator/copy/progress.ts';
import { copyPhase } from '../../orchestrator/phases/copy.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { loadValueZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import { chunksOf, copyAndBuild, expectSame, keysOf, prepared } from '../support/copy-trial.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
beforeEach(async () => {
  pair = await freshPair();
});
afterEach(async () => pair.drop());

const insert = (values: string): Promise<void> =>
  execute(pair.blue.urls.owner, `INSERT INTO user_settings (id, keycloak_user_id) VALUES ${values}`);

const mapped = async (): Promise<string[]> =>
  (
    await rows<{ u: string }>(
      pair.green.urls.superuser,
      `SELECT id || ' ' || keycloak_user_id AS u FROM "user" ORDER BY id`,
    )
  ).map((r) => r.u);

const parked = async (): Promise<string[]> =>
  (
    await rows<{ p: string }>(
      pair.green.urls.superuser,
      `SELECT id || ' ' || reason AS p FROM orchestrator.parked ORDER BY id`,
    )
  ).map((r) => r.p);

describe('copy and build', () => {
  it('carry every value of the zoo over, in binary', async () => {
    await loadValueZoo(pair.blue.urls.superuser, { rows: 1_000, maximalId: true });
    const { ctx, slot, built } = await prepared(pair);
    await copyAndBuild(ctx, slot);
    const [{ n } = { n: 0 }] = await rows<{ n: number }>(
      pair.blue.urls.superuser,
      'SELECT count(*)::integer AS n FROM user_settings',
    );
    expect(n).toBe(1_000);
    await expectSame(pair, built, n);
    expect(ctx.entries).toContainEqual({
      event: 'copy',
      detail: expect.objectContaining({ started: true, format: 'binary' }),
    });
  });

  it('carry every value over as text where a type differs, whatever the roles and databases are set to', async () => {
    await loadValueZoo(pair.blue.urls.superuser, { rows: 600 });
    await execute(pair.blue.urls.owner, 'ALTER TABLE user_settings ALTER language TYPE text');
    for (const side of ['blue', 'green'] as const)
      for (const setting of ["datestyle = 'SQL, DMY'", 'extra_float_digits = 0', "statement_timeout = '1ms'"])
        await execute(
          pair[side].urls.superuser,
          `ALTER ROLE ${pair[side].roles.sync} IN DATABASE ${pair[side].database} SET ${setting}`,
        );
    const { ctx, slot, built } = await prepared(pair);
    await copyAndBuild(ctx, slot);
    expect(ctx.entries).toContainEqual({
      event: 'copy',
      detail: expect.objectContaining({ started: true, format: 'text' }),
    });
    // The comparison wants the type the mapping declares.
    await execute(pair.blue.urls.owner, 'ALTER TABLE user_settings ALTER language TYPE varchar');
    const [{ n } = { n: 0 }] = await rows<{ n: number }>(
      pair.blue.urls.superuser,
      'SELECT count(*)::integer AS n FROM user_settings',
    );
    await expectSame(pair, built, n);
  });

  it('carry real-looking users over, in several chunks by several workers', async () => {
    await loadUsers(pair.blue.urls.superuser, { users: 12_000, seed: 7 });
    const { ctx, slot, built } = await prepared(pair);
    await copyAndBuild(ctx, slot, { workers: 3 });
    await expectSame(pair, built, 12_000);
    const chunks = await chunksOf(pair);
    expect(chunks.length).toBeGreaterThanOrEqual(6);
    expect(chunks.reduce((sum, c) => sum + Number(c.rows), 0)).toBe(12_000);
    expect(new Set(chunks.map((c) => c.worker)).size).toBeGreaterThan(1);
    const progress = await withClient(pair.green.urls.sync, (green) => readCopyProgress(green));
    expect(progress).toMatchObject({ rowsDone: 12_000, rowsExpected: 12_000, rate: null, eta: null });
    expect(await rows(pair.green.urls.superuser, 'SELECT FROM orchestrator.saved_object')).toEqual([]);
    const statistics = await rows(
      pair.green.urls.superuser,
      `SELECT relname FROM pg_class WHERE relname IN ('org', 'user', 'org_user', 'settings') AND reltuples > 0`,
    );
    expect(statistics).toHaveLength(4);
  });

  it('cope with an empty table', async () => {
    const { ctx, slot, built } = await prepared(pair);
    await copyAndBuild(ctx, slot);
    expect(await keysOf(pair)).toEqual(built);
    expect(await chunksOf(pair)).toHaveLength(1);
    expect(await mapped()).toEqual([]);
  });

  it('find rows anywhere between the lowest and the highest id, across holes', async () => {
    await insert(`(-2147483648, 'lowest'), (-7, 'negative'), (0, 'zero'), (2147483647, 'highest')`);
    await execute(
      pair.blue.urls.owner,
      `INSERT INTO user_settings (id, keycloak_user_id) SELECT n * 1000000, 'even ' || n FROM generate_series(1, 2000) AS n;
       INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'dense ' || n FROM generate_series(1, 10000) AS n`,
    );
    const { ctx, slot, built } = await prepared(pair);
    await copyAndBuild(ctx, slot);
    await expectSame(pair, built, 12_004);
    const sizes = (await chunksOf(pair)).map((c) => Number(c.rows));
    expect(sizes.length).toBeGreaterThan(5);
    expect(Math.max(...sizes)).toBeLessThan(4_000);
  });

  it('plan a large table from a sample of its pages, and still miss nothing', async () => {
    await execute(
      pair.blue.urls.owner,
      `INSERT INTO user_settings (id, keycloak_user_id, llm_api_key)
       SELECT CASE WHEN n % 2 = 0 THEN n ELSE -n * 1000 END, 'k' || n,
              (SELECT string_agg(md5(n || ':' || i), '') FROM generate_series(1, 58) AS i)
       FROM generate_series(1, 12000) AS n`,
    );
    const { ctx, slot, built } = await prepared(pair);
    await copyAndBuild(ctx, slot);
    await expectSame(pair, built, 12_000);
    const chunks = await chunksOf(pair);
    expect(chunks.length).toBeGreaterThanOrEqual(4);
    expect(Math.max(...chunks.map((c) => Number(c.rows)))).toBeLessThan(6_000);
  });

  it('map the lowest id of each key and park the rest whole, with the reason', async () => {
    await insert(
      `(1, 'A'), (2, NULL), (3, ''), (4, 'B'), (9, 'A'), (5, 'A'), (7, 'B'), (8, 'a'), (-3, 'B ')`,
    );
    const { ctx, slot, built } = await prepared(pair);
    await copyAndBuild(ctx, slot);
    expect(await mapped()).toEqual(['-3 B ', '1 A', '4 B', '8 a']);
    expect(await parked()).toEqual([
      '2 null_key',
      '3 empty_key',
      '5 duplicate',
      '7 duplicate',
      '9 duplicate',
    ]);
    await expectSame(pair, built, 9);
  });

  it('park exactly the same where statistics have seen no key twice and only the constraint finds them', async () => {
    await insert(`(1, 'A'), (2, NULL), (4, 'B'), (9, 'A'), (5, 'A'), (7, 'B'), (8, 'a')`);
    const { ctx, slot, built } = await prepared(pair);
    await execute(
      pair.green.urls.owner,
      'ALTER TABLE "user" ALTER COLUMN keycloak_user_id SET (n_distinct = -1)',
    );
    const said: string[] = [];
    const log = { ...ctx.log, info: (_: object, message: string) => void said.push(message) };
    await copyAndBuild({ ...ctx, log }, slot);
    expect(said.filter((m) => m.startsWith('some users share a key'))).toHaveLength(1);
    expect(ctx.entries.at(-2)?.detail).toEqual({ parked: 3, promoted: 0, keys: 'shared' });
    expect(await mapped()).toEqual(['1 A', '4 B', '8 a']);
    expect(await parked()).toEqual(['2 null_key', '5 duplicate', '7 duplicate', '9 duplicate']);
    await expectSame(pair, built, 7);
  });

  it('look for shared keys no further where the constraint could be built at once', async () => {
    await insert(`(1, 'A'), (2, NULL), (4, 'B'), (8, 'a')`);
    const { ctx, slot, built } = await prepared(pair);
    await copyAndBuild(ctx, slot);
    expect(ctx.entries.at(-2)?.detail).toEqual({ parked: 0, promoted: 0, keys: 'unique' });
    await expectSame(pair, built, 4);
  });

  it('bring foreign tables and their keys back that hang on the model', async () => {
    await insert(`(1, 'A'), (2, 'B')`);
    const { ctx, slot } = await prepared(pair);
    await execute(
      pair.green.urls.owner,
      `CREATE TABLE "Note" (id integer PRIMARY KEY, about integer CONSTRAINT "about it" REFERENCES "user" (id));
       CREATE INDEX "odd name" ON settings (language) WHERE language <> '';
       ALTER TABLE org ADD CONSTRAINT late UNIQUE (id, name) DEFERRABLE INITIALLY DEFERRED;
       ALTER TABLE org ADD CONSTRAINT unchecked FOREIGN KEY (conversation_expiration) REFERENCES role NOT VALID`,
    );
    const before = await keysOf(pair);
    expect(before.filter((k) => !k.valid)).toHaveLength(1);
    await copyAndBuild(ctx, slot);
    expect(await keysOf(pair)).toEqual(before);
  });

  it('read the table as it was when the slot was made', async () => {
    await insert(`(1, 'A'), (2, 'B')`);
    const { ctx, slot } = await prepared(pair);
    await execute(
      pair.blue.urls.app,
      `UPDATE user_settings SET keycloak_user_id = 'changed' WHERE id = 1; DELETE FROM user_settings WHERE id = 2;
       INSERT INTO user_settings (id, keycloak_user_id) VALUES (3, 'new')`,
    );
    await copyAndBuild(ctx, slot);
    expect(await mapped()).toEqual(['1 A', '2 B']);
  });
});

describe('a copy that may not write', () => {
  it('changes nothing under a stale epoch', async () => {
    await insert(`(1, 'A')`);
    const { ctx, slot } = await prepared(pair);
    const built = await keysOf(pair);
    ctx.setClaim({ epoch: 41n });
    await expect(copyPhase(ctx, slot)).rejects.toMatchObject({ code: 'STALE_EPOCH' });
    await slot.release();
    expect(await keysOf(pair)).toEqual(built);
    expect(await chunksOf(pair)).toEqual([]);
    expect(await mapped()).toEqual([]);
  });

  it('stops at a chunk when a newer runner has taken over in between', async () => {
    await execute(
      pair.blue.urls.owner,
      `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'k' || n FROM generate_series(1, 9000) AS n`,
    );
    const { ctx, slot } = await prepared(pair);
    let asked = 0;
    const copying = copyPhase(ctx, slot, {
      workers: 1,
      shouldPause: async () => {
        if (++asked === 3)
          await execute(pair.green.urls.sync, 'UPDATE orchestrator.side SET epoch = epoch + 1');
        return undefined;
      },
    });
    await expect(copying).rejects.toMatchObject({ code: 'STALE_EPOCH' });
    await slot.release();
    expect((await chunksOf(pair)).filter((c) => c.status === 'done')).toHaveLength(2);
  });
});

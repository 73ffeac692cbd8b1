/** A sweep that is disturbed: it goes on, or it leaves everything as it was. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sweepPhase } from '../../orchestrator/phases/sweep.ts';
import { copyRows, makeUsers, settleTable, withTextSession } from '../../orchestrator/rehearsal/generator.ts';
import { makeZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import { Chunks } from '../../orchestrator/verify/chunks.ts';
import { compareScope } from '../../orchestrator/verify/compare.ts';
import { comparison } from '../../orchestrator/verify/comparison.ts';
import { agreeOnHash, HASHES } from '../../orchestrator/verify/hash.ts';
import { drift, lastSweep } from '../../orchestrator/verify/last-sweep.ts';
import { nameDifferences } from '../../orchestrator/verify/naming.ts';
import { HIGHEST, LOWEST } from '../../orchestrator/verify/scope.ts';
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
    await copyRows(client, makeZoo({ rows: 400 }));
    await copyRows(client, makeUsers({ users: 600, seed: 7, firstId: 1_000 }));
    await settleTable(client);
  });
  ctx = await copied(pair);
});
afterAll(() => pair.drop());

const stored = async (): Promise<number> => {
  const [row] = await rows<{ n: number }>(
    pair.green.urls.superuser,
    'SELECT count(*)::integer AS n FROM orchestrator.sweep',
  );
  return row?.n ?? -1;
};
const slotsLeft = () =>
  rows(
    pair.blue.urls.superuser,
    `SELECT slot_name FROM pg_replication_slots WHERE database = current_database() AND temporary`,
  );

/** A delta that knows one key, as after a clean sweep. */
async function sweptOnce(): Promise<StillApplier> {
  const applier = new StillApplier();
  expect((await sweepPhase(ctx, { serving: 'blue', applier })).clean).toBe(true);
  applier.delta.add([77]);
  return applier;
}

it('chunks follow the numbers, not their text: each has the rows that were asked for', async () => {
  await withClient(pair.blue.urls.sync, async (client) => {
    const chunks = new Chunks(client, ctx.relations, 'blue', 100);
    const counts: number[] = [];
    let lower = LOWEST;
    for (let scope = await chunks.next(); scope !== undefined; scope = await chunks.next()) {
      if (scope.kind !== 'range') throw new Error('a chunk that is no range');
      expect(scope.lower).toBe(lower);
      expect(scope.upper).toBeGreaterThan(lower);
      lower = scope.upper;
      const { rows: counted } = await client.query<{ n: number }>(
        'SELECT count(*)::integer AS n FROM user_settings WHERE id >= $1::bigint AND id < $2::bigint',
        [scope.lower.toString(), scope.upper.toString()],
      );
      counts.push(counted[0]?.n ?? -1);
    }
    expect(lower).toBe(HIGHEST);
    expect(counts.slice(0, -1)).toEqual(Array.from({ length: counts.length - 1 }, () => 100));
    expect(counts.length).toBeGreaterThan(9);
  });
});

it('a worker that loses its sessions opens new ones on the same picture', async () => {
  const applier = await sweptOnce();
  let killed = 0;
  let over = false;
  const killing = withClient(pair.blue.urls.superuser, async (killer) => {
    while (!over && killed < 3) {
      const { rowCount } = await killer.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'orchestrate/sweep'
           AND query LIKE '%bit_xor%' LIMIT 1`,
      );
      killed += rowCount ?? 0;
    }
  });
  const document = await sweepPhase(ctx, { serving: 'blue', applier, workers: 2, chunkRows: 5 });
  over = true;
  await killing;
  expect(killed).toBe(3);
  expect(document.mismatches).toEqual([]);
  expect(document.rows_compared).toBe(1_000);
  expect([...(applier.delta.keys() as Set<number>)]).toEqual([]);
});

it('one that may read so many rows a second takes its time, and finds the same', async () => {
  const applier = await sweptOnce();
  const document = await sweepPhase(ctx, { serving: 'blue', applier, maxRowsPerSecond: 500 });
  expect(document.clean).toBe(true);
  expect(document.rows_compared).toBeGreaterThan(900);
  expect(document.duration_seconds).toBeGreaterThan(document.rows_compared / 500 - 0.1);
});

it('one that is told to end leaves the delta and the last result', async () => {
  const applier = await sweptOnce();
  const before = await stored();
  const stop = new AbortController();
  const cutting = {
    delta: applier.delta,
    holdBack: <T>(work: () => Promise<T>) => work(),
    cutBefore: <T>(_: bigint, paused: () => Promise<T>) => {
      stop.abort(new Error('a handover is due'));
      return paused();
    },
  };
  await expect(sweepPhase(ctx, { serving: 'blue', applier: cutting, signal: stop.signal })).rejects.toThrow(
    'a handover is due',
  );
  expect([...(applier.delta.keys() as Set<number>)]).toEqual([77]);
  expect(await stored()).toBe(before);
  expect(await slotsLeft()).toEqual([]);
});

it('one whose runner was taken over stores nothing', async () => {
  const applier = await sweptOnce();
  const before = await stored();
  const takeover = {
    delta: applier.delta,
    holdBack: <T>(work: () => Promise<T>) => work(),
    cutBefore: async <T>(_: bigint, paused: () => Promise<T>) => {
      const result = await paused();
      await execute(pair.green.urls.sync, 'UPDATE orchestrator.side SET epoch = epoch + 1');
      return result;
    },
  };
  await expect(sweepPhase(ctx, { serving: 'blue', applier: takeover })).rejects.toMatchObject({
    code: 'STALE_EPOCH',
  });
  await execute(pair.green.urls.sync, 'UPDATE orchestrator.side SET epoch = epoch - 1');
  expect([...(applier.delta.keys() as Set<number>)]).toEqual([77]);
  expect(await stored()).toBe(before);
});

it('the newest sweep of this generation says how old it is, and what has changed since', async () => {
  await sweptOnce();
  await withClient(pair.blue.urls.sync, (blue) =>
    withClient(pair.green.urls.sync, async (green) => {
      const last = await lastSweep(green, ctx);
      expect(last).toMatchObject({ clean: true, void: false });
      expect(last?.ageSeconds).toBeGreaterThan(0);
      expect(last?.ageSeconds).toBeLessThan(60);
      expect(await drift(ctx, { blue, green })).toEqual([]);
      await execute(pair.blue.urls.owner, 'VACUUM FULL user_settings');
      expect(await drift(ctx, { blue, green })).toEqual([
        'blue user_settings rewritten: its rows lie in another file',
      ]);
      ctx.setClaim({ generation: 1n });
      expect(await lastSweep(green, ctx)).toBeNull();
      expect(await drift(ctx, { blue, green })).toHaveLength(1);
      ctx.setClaim({ generation: 0n });
    }),
  );
});

it('both hashes see every value of the zoo alike on both sides, and one changed byte', async () => {
  await withClient(pair.blue.urls.sync, (blue) =>
    withClient(pair.green.urls.sync, async (green) => {
      const pinned = `SET datestyle = ISO; SET extra_float_digits = 3; SET timezone = UTC`;
      await blue.query(pinned);
      await green.query(pinned);
      expect((await agreeOnHash(blue, green)).name).toBe('record');
      const readers = { blue, green, control: green };
      for (const hash of HASHES) {
        const c = comparison(ctx.relations, hash, 'blue', 0n);
        const all = { kind: 'range', lower: LOWEST, upper: HIGHEST } as const;
        const result = await compareScope(c, readers, all);
        expect(result.differences).toEqual([]);
        expect(result.rows).toBe(1_000);
        await execute(pair.blue.urls.app, `UPDATE user_settings SET agent = agent || ' ' WHERE id = 1000`);
        const { differences } = await compareScope(c, readers, all);
        expect(await nameDifferences(c, readers, differences)).toEqual([
          { table: 'settings', key: 1000, kind: 'different', columns: ['agent'] },
        ]);
        await execute(pair.blue.urls.app, `UPDATE user_settings SET agent = left(agent, -1) WHERE id = 1000`);
      }
    }),
  );
});

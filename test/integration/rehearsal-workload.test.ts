import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Side } from '../../orchestrator/pg/side.ts';
import { checkPromises } from '../../orchestrator/rehearsal/comparison/promises.ts';
import { compareSides } from '../../orchestrator/rehearsal/comparison.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import {
  feltFreeze,
  latency,
  readTimeline,
  servingChanges,
  type Timeline,
  windowBetween,
} from '../../orchestrator/rehearsal/ledger/timing.ts';
import { Ledger, readLedger } from '../../orchestrator/rehearsal/ledger.ts';
import { startWorkload, type Workload, type WorkloadOptions } from '../../orchestrator/rehearsal/workload.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { copyByHand, createOrgModel } from '../support/org-model.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
const folder = mkdtempSync(join(tmpdir(), 'workload-'));
let files = 0;
const running: Workload[] = [];

beforeAll(async () => {
  pair = await freshPair();
  await createOrgModel(pair);
  await loadUsers(pair.blue.urls.owner, { users: 3_000, seed: 11 });
  await copyByHand(pair);
  for (const side of ['blue', 'green'] as const) await execute(pair[side].urls.owner, FENCE(TABLES[side]));
});
afterEach(async () => {
  for (const workload of running.splice(0)) await workload.stop();
  await fence('blue', false);
  await fence('green', false);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await pair.drop();
});

/** A stand-in for the product's fence: what matters here is only its SQLSTATE. */
const TABLES = { blue: ['user_settings'], green: ['org', '"user"', 'org_user', 'settings'] };
const FENCE = (tables: string[]): string => `
  CREATE FUNCTION test_fence() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'closed' USING ERRCODE = '25006'; END $$;
  ${tables
    .map(
      (table) => `CREATE TRIGGER test_fence BEFORE INSERT OR UPDATE OR DELETE ON ${table}
        EXECUTE FUNCTION test_fence(); ALTER TABLE ${table} DISABLE TRIGGER test_fence;`,
    )
    .join('\n')}`;
/** One table a transaction: the writers lock several in an order of their own, and two locks at once could be a deadlock. */
const fence = (side: Side, closed: boolean): Promise<void> =>
  withClient(pair[side].urls.owner, async (client) => {
    for (const table of TABLES[side])
      await client.query(`ALTER TABLE ${table} ${closed ? 'ENABLE ALWAYS' : 'DISABLE'} TRIGGER test_fence`);
  });

async function start(
  options: Partial<WorkloadOptions> = {},
): Promise<{ workload: Workload; ledger: Ledger }> {
  files += 1;
  const ledger = new Ledger(join(folder, `${files}.jsonl`));
  const workload = await startWorkload({
    databases: { blue: pair.blue.urls.app, green: pair.green.urls.app },
    ledger,
    clients: 6,
    rate: 300,
    seed: files,
    ...options,
  });
  running.push(workload);
  return { workload, ledger };
}

const acknowledged = (workload: Workload, more: number): Promise<unknown> => {
  const from = workload.statistics().acknowledged;
  return until(`${more} more writes`, () => workload.statistics().acknowledged >= from + more);
};
const timelineOf = (ledger: Ledger): Promise<Timeline> => readTimeline(readLedger(ledger.path));
const check = (side: Side, ledger: Ledger): ReturnType<typeof checkPromises> =>
  checkPromises({ database: pair[side].urls.owner, side, ledger: ledger.path });

describe('the application on the old schema', () => {
  it('keeps the offered rate with the mix of the real one, and every promise', async () => {
    const { workload, ledger } = await start({ everyoneEveryMs: 300 });
    await acknowledged(workload, 900);
    const statistics = await workload.stop();
    expect(statistics).toMatchObject({ refused: 0, abandoned: 0, unknown: 0 });
    expect(statistics.signUps).toBeGreaterThan(50);
    const kept = await check('blue', ledger);
    expect(kept).toMatchObject({ clean: true, acknowledged: statistics.acknowledged });
    expect(kept.users).toBeGreaterThan(500);
    const timeline = await timelineOf(ledger);
    const kinds = new Map<string, number>();
    for (const { kind } of timeline.waits) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    expect([...kinds.keys()].sort()).toEqual([
      'everyone',
      'mcp-config',
      'other',
      'save',
      'sign-up',
      'terms',
      'version-upgrade',
    ]);
    expect((kinds.get('save') ?? 0) / timeline.waits.length).toBeGreaterThan(0.45);
    expect(latency(timeline)?.p50).toBeLessThan(100);
  });

  it('is found out when one acknowledged write is undone behind its back', async () => {
    const { workload, ledger } = await start();
    await acknowledged(workload, 200);
    await workload.stop();
    const [row] = await rows<{ id: number }>(
      pair.blue.urls.owner,
      `UPDATE user_settings SET llm_api_key = 'an older one' WHERE id =
         (SELECT id FROM user_settings WHERE llm_api_key LIKE 'sk-%-c%-v%' ORDER BY id DESC LIMIT 1) RETURNING id`,
    );
    expect((await check('blue', ledger)).lost).toEqual([
      { kind: 'lost', key: row?.id, table: 'user_settings', columns: ['llm_api_key'] },
    ]);
  });

  it('knocks at a closed fence and is measured while it waits', async () => {
    const { workload, ledger } = await start({ target: () => 'blue' });
    await acknowledged(workload, 100);
    ledger.mark('close');
    await fence('blue', true);
    const refused = workload.statistics().refused;
    await until('many refusals', () => workload.statistics().refused > refused + 200);
    await fence('blue', false);
    await acknowledged(workload, 100);
    ledger.mark('open');
    const statistics = await workload.stop();
    expect(statistics).toMatchObject({ unknown: 0, abandoned: 0 });
    const timeline = await timelineOf(ledger);
    const felt = feltFreeze(timeline, windowBetween(timeline, 'close', 'open'));
    // 200 refusals of 6 clients, 5 ms apart.
    expect(felt.longestGapMs).toBeGreaterThan(100);
    expect(felt.waiting).toBeGreaterThan(0);
    expect(felt.longestWaitMs).toBeGreaterThan(felt.longestGapMs * 0.8);
    expect(timeline.failedByCode.get('25006')).toBeGreaterThan(200);
    expect((await check('blue', ledger)).clean).toBe(true);
  });

  it('records as unknown what may have been committed when sessions are killed, and stays right', async () => {
    const { workload, ledger } = await start({ clients: 12, rate: 1_500, target: () => 'blue' });
    const kill = (which: string): Promise<void> =>
      execute(
        pair.blue.urls.superuser,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name LIKE 'application client%' AND datname = current_database() AND ${which}`,
      );
    const waiting = `SELECT count(*)::int AS n FROM pg_stat_activity
      WHERE application_name LIKE 'application client%' AND datname = current_database() AND wait_event_type = 'Lock'`;
    for (let n = 0; n < 4; n += 1) {
      await acknowledged(workload, 60);
      await kill('true');
      await acknowledged(workload, 60);
      await withClient(pair.blue.urls.superuser, async (locker) => {
        await locker.query('BEGIN; LOCK TABLE user_settings IN SHARE MODE');
        await until(
          'writers behind the lock',
          async () => (await locker.query<{ n: number }>(waiting)).rows[0]?.n === 12,
        );
        await kill("wait_event_type = 'Lock'");
      });
    }
    const statistics = await workload.stop();
    expect(statistics.unknown).toBeGreaterThanOrEqual(48);
    expect(await check('blue', ledger)).toMatchObject({ clean: true, unknown: statistics.unknown });
  });

  it('keeps every promise with deletes and keys that come, go and are shared', async () => {
    const { workload, ledger } = await start({ exotic: 0.3, everyoneEveryMs: 400 });
    await acknowledged(workload, 600);
    const statistics = await workload.stop();
    expect(statistics).toMatchObject({ unknown: 0, refused: 0 });
    expect(statistics.deletes).toBeGreaterThan(5);
    expect((await check('blue', ledger)).lost).toEqual([]);
    const [row] = await rows<{ n: number }>(
      pair.blue.urls.owner,
      `SELECT count(*)::int AS n FROM user_settings WHERE keycloak_user_id = ''`,
    );
    expect(row?.n).toBeGreaterThan(3);
  });

  it('gives up refused writes when it is stopped, and says so', async () => {
    await fence('blue', true);
    const { workload, ledger } = await start({ drainMs: 200, target: () => 'blue' });
    await until('refusals', () => workload.statistics().refused > 10);
    const statistics = await workload.stop();
    expect(statistics.acknowledged).toBe(0);
    expect(statistics.abandoned).toBeGreaterThan(0);
    expect((await timelineOf(ledger)).waits).toHaveLength(0);
  });
});

describe('the application on the new schema', () => {
  it('keeps every promise, with deletes, moved keys and further members', async () => {
    const { workload, ledger } = await start({ first: 'green', exotic: 0.2, everyoneEveryMs: 400 });
    await acknowledged(workload, 900);
    const statistics = await workload.stop();
    expect(statistics.unknown).toBe(0);
    expect(statistics.deletes).toBeGreaterThan(5);
    expect((await check('green', ledger)).lost).toEqual([]);
    const born = await rows<{ n: number }>(
      pair.green.urls.owner,
      `SELECT count(*)::int AS n FROM "user" u
       JOIN org o ON o.name = 'user_' || u.id || '_org' AND o.id <> u.id
       JOIN org_user m ON m.org_id = o.id AND m.user_id = u.id AND m.status = 'active'
       JOIN settings s ON s.org_id = o.id AND s.user_id IS NULL`,
    );
    expect(born[0]?.n).toBeGreaterThan(20);
    const renamed = await rows<{ n: number }>(
      pair.green.urls.owner,
      `SELECT count(*)::int AS n FROM org WHERE name LIKE 'Org %'`,
    );
    expect(renamed[0]?.n).toBeGreaterThan(0);
    // Nothing of that is on blue, and the comparison says so.
    const compared = await compareSides({
      databases: { blue: pair.blue.urls.owner, green: pair.green.urls.owner },
      serving: 'green',
      greenWritten: true,
      settleMs: 0,
    });
    expect(compared.clean).toBe(false);
  });
});

describe('from one side to the other', () => {
  it('finds the open door without being told, there and back, and proves two changes of side', async () => {
    // Sync is missing here on purpose: only who says yes is of interest.
    await fence('green', true);
    const { workload, ledger } = await start({ strays: 0.05 });
    await acknowledged(workload, 150);
    await fence('blue', true);
    await fence('green', false);
    await acknowledged(workload, 150);
    await fence('green', true);
    await fence('blue', false);
    await acknowledged(workload, 150);
    await workload.stop();
    const timeline = await timelineOf(ledger);
    expect(new Set(timeline.waits.map((w) => w.side))).toEqual(new Set(['blue', 'green']));
    expect(servingChanges(timeline)).toBe(2);
  });

  it('proves two writable sides by the writes that both accept', async () => {
    const { workload, ledger } = await start({ strays: 0.2, target: () => 'blue' });
    await acknowledged(workload, 150);
    await workload.stop();
    expect(servingChanges(await timelineOf(ledger))).toBeGreaterThan(5);
  });

  it('pauses with every answer in, and goes on', async () => {
    const { workload, ledger } = await start();
    await acknowledged(workload, 50);
    await workload.pause();
    const { acknowledged: before } = workload.statistics();
    expect((await check('blue', ledger)).acknowledged).toBe(before);
    workload.resume();
    await acknowledged(workload, 50);
    await workload.stop();
    expect((await check('blue', ledger)).clean).toBe(true);
  });
});

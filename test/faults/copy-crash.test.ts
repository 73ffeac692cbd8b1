/** Copy and build through kills, lost sessions and lost snapshots: finished work stays, nothing comes twice. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatLsn, type Lsn } from '../../orchestrator/pg/lsn.ts';
import { buildPhase } from '../../orchestrator/phases/build.ts';
import { copyPhase } from '../../orchestrator/phases/copy.ts';
import { chunksOf, expectSame, fill, keysOf, phaseInProcess, prepared } from '../support/copy-trial.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
beforeEach(async () => {
  pair = await freshPair();
});
afterEach(async () => pair.drop());

/** As after a resume: the stored position is before the newest snapshot. */
const somethingToCatchUp = (): Promise<void> =>
  execute(pair.green.urls.sync, `UPDATE orchestrator.progress SET lsn = '0/1'`);

/** How often each org row was written: every row has one version, from one transaction a chunk. */
const versionsPerChunk = () =>
  rows<{ rows: number; transactions: number }>(
    pair.green.urls.superuser,
    `SELECT count(*)::integer AS rows, count(DISTINCT u.xmin::text)::integer AS transactions
     FROM orchestrator.chunk AS c JOIN "user" AS u ON u.id BETWEEN c.lower_id AND c.upper_id
     WHERE c.task = 'copy' GROUP BY c.id ORDER BY c.lower_id`,
  );

describe('a process that is killed', () => {
  it('during copy leaves finished chunks alone and redoes the one in flight, under a newer snapshot', async () => {
    await fill(pair, 9_000);
    const { ctx, slot, built } = await prepared(pair);
    await slot.release();

    expect(await phaseInProcess(pair, 'copy', 'plan.before:crash')).toMatchObject({ ended: 'SIGKILL' });
    expect(await chunksOf(pair)).toEqual([]);
    expect(await keysOf(pair)).toEqual(built);

    expect(await phaseInProcess(pair, 'copy', 'plan.after:crash')).toMatchObject({ ended: 'SIGKILL' });
    expect((await chunksOf(pair)).every((c) => c.status === 'pending')).toBe(true);
    const loaded = /^public\.(org|"user"|org_user|settings) [pfu] /;
    expect((await keysOf(pair)).filter((k) => loaded.test(k.object))).toEqual([]);
    expect(built.filter((k) => loaded.test(k.object))).toHaveLength(12);

    expect(await phaseInProcess(pair, 'copy', 'chunk.after:crash:2')).toMatchObject({ ended: 'SIGKILL' });
    const afterFirst = await chunksOf(pair);
    const finished = afterFirst.filter((c) => c.status === 'done');
    expect(finished.length).toBeGreaterThanOrEqual(2);
    expect(finished.length).toBeLessThan(afterFirst.length);

    await execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'later' WHERE id = 8999`);
    expect(await phaseInProcess(pair, 'copy', 'chunk.before:crash:1')).toMatchObject({ ended: 'SIGKILL' });
    expect((await chunksOf(pair)).filter((c) => c.status === 'done')).toEqual(finished);

    await copyPhase(ctx, 'resume');
    const chunks = await chunksOf(pair);
    expect(chunks.filter((c) => finished.some((f) => f.lower === c.lower))).toEqual(finished);
    expect(new Set(chunks.map((c) => c.lsn)).size).toBeGreaterThanOrEqual(2);
    expect(await versionsPerChunk()).toEqual(
      chunks.map(() => ({ rows: expect.any(Number), transactions: 1 })),
    );
    let reached: Lsn | undefined;
    await buildPhase(ctx, async (lsn) => {
      reached = lsn;
    });
    expect(formatLsn(reached ?? 0n)).toBe(chunks.at(-1)?.lsn);
    await expectSame(pair, built, 9_000);
    // Nothing of ours is left that would hold blue's WAL but the slot itself.
    expect(
      await rows(
        pair.blue.urls.superuser,
        'SELECT FROM pg_replication_slots WHERE database = current_database()',
      ),
    ).toHaveLength(1);
  });

  it('at any step of build finds the keys as revision 056 made them in the end', async () => {
    await fill(pair, 3_000);
    const { ctx, slot, built } = await prepared(pair);
    await copyPhase(ctx, slot);
    await slot.release();
    await somethingToCatchUp();
    for (const failpoint of [
      'build.before:crash:1',
      'build.after:crash:1',
      'build.after:crash:2',
      'catch-up.before:crash',
      'recompute.before:crash',
      'recompute.after:crash',
      // Two connections build at a time, so a killed build may have come one step further than its hit says.
      'build.after:crash:1',
      'build.before:crash:2',
      'build.after:crash:2',
      'build.before:crash:1',
      'build.after:crash:1',
    ]) {
      const { ended, stderr } = await phaseInProcess(pair, 'build', failpoint);
      expect(`${failpoint} ${ended} ${stderr.trim()}`).toMatch(/ SIGKILL failpoint /);
    }
    await buildPhase(ctx, () => Promise.reject(new Error('nothing may be caught up after the pass')));
    await expectSame(pair, built, 3_000);
    // Once more, as a run does that was killed before it had moved on.
    await buildPhase(ctx, () => Promise.reject(new Error('nothing may be caught up after the pass')));
    expect(await keysOf(pair)).toEqual(built);
  });
});

describe('a kill between the constraint that proves the keys unique and the pass', () => {
  it.each(['build.after:crash:7', 'recompute.before:crash', 'recompute.after:crash'])(
    '(%s) leaves nothing to decide again, and an heir is found all the same',
    async (failpoint) => {
      await execute(
        pair.blue.urls.owner,
        `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'k' || n FROM generate_series(1, 2000) AS n`,
      );
      const { ctx, slot, built } = await prepared(pair);
      await copyPhase(ctx, slot);
      await slot.release();
      // Row 7 as an interrupted history may leave it: parked, and no holder.
      await execute(
        pair.green.urls.sync,
        `INSERT INTO orchestrator.parked (id, keycloak_user_id, enable_default_condenser, user_version,
                                          enable_proactive_conversation_starters, reason)
         VALUES (7, 'k7', true, 0, true, 'duplicate');
         DELETE FROM org_user WHERE user_id = 7; DELETE FROM settings WHERE id = 7;
         DELETE FROM "user" WHERE id = 7; DELETE FROM org WHERE id = 7`,
      );
      const { ended } = await phaseInProcess(pair, 'build', failpoint);
      expect(ended).toBe('SIGKILL');
      await buildPhase(ctx, () => Promise.reject(new Error('there is nothing to catch up')));
      await expectSame(pair, built, 2_000);
    },
  );
});

const TERMINATE = `
  SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = $1 AND query LIKE $2`;

describe('a session that is lost', () => {
  it.each([
    ['blue', 'COPY%'],
    ['green', 'COPY%'],
  ] as const)('on %s in the middle of a chunk costs that chunk only', async (side, query) => {
    await fill(pair, 8_500);
    const { ctx, slot, built } = await prepared(pair);
    const counted: Record<string, number> = {};
    const counting = {
      ...ctx,
      metrics: {
        ...ctx.metrics,
        add: (name: string, labels: Readonly<Record<string, string>>, n: number) => {
          counted[`${name} ${labels['table']}`] = (counted[`${name} ${labels['table']}`] ?? 0) + n;
        },
      },
    };
    // Slow enough that a kill meets a COPY.
    const copying = copyPhase(counting, slot, { workers: 2, maxRateBytes: 2_000_000 });
    const victims = await until('a COPY to end', async () => {
      const ended = await rows(pair[side].urls.superuser, TERMINATE, ['orchestrate/copy', query]);
      return ended.length > 0 && ended;
    });
    expect(victims.length).toBeGreaterThan(0);
    await copying;
    await slot.release();
    await buildPhase(ctx, async () => {});
    await expectSame(pair, built, 8_500);
    const chunks = await chunksOf(pair);
    expect(new Set(chunks.map((c) => c.lsn)).size).toBe(1);
    expect(counted['copy_rows_total org']).toBeGreaterThanOrEqual(8_500 - 20);
  });

  it('that exported the snapshot makes the rest come from a newer one', async () => {
    await fill(pair, 9_000);
    const { ctx, slot, built } = await prepared(pair);
    const copying = copyPhase(ctx, slot, { workers: 2, maxRateBytes: 2_000_000 });
    await until('a chunk to be done', async () => (await chunksOf(pair)).some((c) => c.status === 'done'));
    await rows(pair.blue.urls.superuser, TERMINATE, ['orchestrate/slot', '%']);
    await until('the readers to be gone', async () => {
      await rows(pair.blue.urls.superuser, TERMINATE, ['orchestrate/copy', 'COPY%']);
      return (await chunksOf(pair)).filter((c) => c.lsn !== formatLsn(slot.consistentPoint)).length > 0;
    });
    await copying;
    await slot.release();
    await buildPhase(ctx, async () => {});
    await expectSame(pair, built, 9_000);
    expect(new Set((await chunksOf(pair)).map((c) => c.lsn)).size).toBeGreaterThan(1);
  });
});

describe('a session on green that holds a table', () => {
  it('is named when the build cannot have it, and the build goes on once it has ended', async () => {
    await fill(pair, 3_000);
    const { ctx, slot, built } = await prepared(pair);
    await copyPhase(ctx, slot);
    await slot.release();
    await withClient(pair.green.urls.superuser, async (reader) => {
      await reader.query('BEGIN');
      await reader.query('SELECT FROM "user" LIMIT 1');
      const { rows: me } = await reader.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      await expect(buildPhase(ctx, async () => {}, { lockWaitMs: 300 })).rejects.toMatchObject({
        code: 'LOCK_TIMEOUT',
        detail: { found: `pid ${me[0]?.pid}` },
      });
    });
    await buildPhase(ctx, async () => {}, { lockWaitMs: 300 });
    await expectSame(pair, built, 3_000);
  });
});

describe('histories', () => {
  /** Rows 1(A) and 5001(A) in two chunks; only one of them is copied before the crash, then 1 becomes C. */
  it.each([
    ['upper', '5001 A'],
    ['lower', '5001 A'],
  ] as const)('4: resume under a newer snapshot, the %s chunk first', async (first, holder) => {
    await execute(
      pair.blue.urls.owner,
      `INSERT INTO user_settings (id, keycloak_user_id) VALUES (1, 'A'), (5001, 'A');
       INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'k' || n FROM generate_series(2, 5000) AS n`,
    );
    const { ctx, slot, built } = await prepared(pair);
    await slot.release();
    await phaseInProcess(pair, 'copy', 'plan.after:crash');
    const hold = (status: string) =>
      execute(
        pair.green.urls.sync,
        `UPDATE orchestrator.chunk SET status = '${status}'
         WHERE task = 'copy' AND (1 BETWEEN lower_id AND upper_id) = ${first === 'upper'} AND finished_at IS NULL`,
      );
    await hold('done');
    await copyPhase(ctx, 'resume');
    await hold('pending');
    await execute(pair.blue.urls.app, `UPDATE user_settings SET keycloak_user_id = 'C' WHERE id = 1`);
    await copyPhase(ctx, 'resume');
    // What the replay of 1 → C does on green, whichever picture of row 1 was copied.
    await buildPhase(ctx, () =>
      execute(pair.green.urls.sync, `UPDATE "user" SET keycloak_user_id = 'C' WHERE id = 1`),
    );
    const [found] = await rows(
      pair.green.urls.superuser,
      `SELECT (SELECT id || ' ' || keycloak_user_id FROM "user" WHERE keycloak_user_id = 'A') AS a,
              (SELECT id FROM "user" WHERE keycloak_user_id = 'C') AS c,
              (SELECT count(*)::integer FROM orchestrator.parked) AS parked`,
    );
    expect(found).toEqual({ a: holder, c: 1, parked: 0 });
    await expectSame(pair, built, 5_001);
  });

  it('a parked duplicate whose key nobody holds becomes a user, the lowest id of them', async () => {
    await execute(
      pair.blue.urls.owner,
      `INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (1, 'A', 'en'), (5, 'B', 'fr'), (6, 'B', 'de')`,
    );
    const { ctx, slot, built } = await prepared(pair);
    await copyPhase(ctx, slot);
    await slot.release();
    await somethingToCatchUp();
    // Rows 5 and 6 as an interrupted history may leave them: parked, and no holder.
    await buildPhase(ctx, () =>
      execute(
        pair.green.urls.sync,
        `INSERT INTO orchestrator.parked (id, keycloak_user_id, language, enable_default_condenser, user_version,
                                          enable_proactive_conversation_starters, reason)
         VALUES (5, 'B', 'fr', true, 0, true, 'duplicate'), (6, 'B', 'de', true, 0, true, 'null_key');
         DELETE FROM org_user WHERE user_id IN (5, 6); DELETE FROM settings WHERE id IN (5, 6);
         DELETE FROM "user" WHERE id IN (5, 6); DELETE FROM org WHERE id IN (5, 6)`,
      ),
    );
    expect(await rows(pair.green.urls.superuser, 'SELECT id, reason FROM orchestrator.parked')).toEqual([
      { id: 6, reason: 'duplicate' },
    ]);
    await expectSame(pair, built, 3);
  });
});

/** Sweeps under writes, with the real streams: no false difference, and true ones are found all the same. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setFence } from '../../orchestrator/fence/fence.ts';
import { formatLsn } from '../../orchestrator/pg/lsn.ts';
import { sweepPhase } from '../../orchestrator/phases/sweep.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { Ledger } from '../../orchestrator/rehearsal/ledger.ts';
import { startWorkload, type Workload } from '../../orchestrator/rehearsal/workload.ts';
import { identify } from '../../orchestrator/stream/slot.ts';
import { fillVacantKeys } from '../../orchestrator/stream/vacant.ts';
import { compareKeys } from '../../orchestrator/verify/compare-keys.ts';
import { repair } from '../../orchestrator/verify/repair.ts';
import { alignSequences } from '../../orchestrator/verify/sequences.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type ForwardStream, forwardStream, streamOf } from '../support/forward-stream.ts';
import { type GreenServing, greenServing } from '../support/green-serving.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const SWEEPS = Number(process.env['ORCHESTRATE_TEST_SWEEPS'] ?? 8);
/** Sweeps of a small table cost round trips; on a busy machine they take seconds each. */
const PATIENCE_MS = 60_000 + SWEEPS * 20_000;
const folder = mkdtempSync(join(tmpdir(), 'verify-live-'));
afterAll(() => rmSync(folder, { recursive: true }));

const workload = (pair: Pair, side: 'blue' | 'green', rate: number): Promise<Workload> =>
  startWorkload({
    databases: { blue: pair.blue.urls.app, green: pair.green.urls.app },
    ledger: new Ledger(join(folder, `${side}-${rate}`)),
    clients: 4,
    rate,
    first: side,
    target: () => side,
    exotic: 0.2,
    maxUsers: 400,
  });

/** On the standby, past its fence, triggers and foreign keys. */
async function plantOn(pair: Pair, side: 'blue' | 'green', sql: string): Promise<void> {
  await withClient(pair[side].urls.superuser, async (client: pg.Client) => {
    await client.query('SET session_replication_role = replica');
    await client.query(`SET SESSION AUTHORIZATION "${pair[side].roles.sync}"`);
    await client.query(sql);
  });
}

describe('while blue serves', () => {
  let pair: Pair;
  let stream: ForwardStream;
  let writing: Workload;

  beforeAll(async () => {
    pair = await freshPair();
    await loadUsers(pair.blue.urls.owner, { users: 4_000, seed: 3 });
    stream = await forwardStream(pair);
    writing = await workload(pair, 'blue', 300);
  });
  afterAll(async () => {
    await writing?.stop();
    await stream?.stop();
    await pair.drop();
  });

  const sweepNow = () =>
    sweepPhase(stream.ctx, { serving: 'blue', applier: stream.applier, workers: 2, chunkRows: 700 });

  it('finds nothing, sweep after sweep', { timeout: PATIENCE_MS }, async () => {
    for (let n = 0; n < SWEEPS; n++) {
      const document = await sweepNow();
      expect(document.mismatches).toEqual([]);
      expect(document.clean).toBe(true);
      expect(stream.applier.delta.lost).toBe(false);
    }
    expect(writing.statistics().acknowledged).toBeGreaterThan(100);
    const stored = await rows<{ n: number }>(
      pair.green.urls.superuser,
      'SELECT count(*)::integer AS n FROM orchestrator.sweep WHERE clean AND NOT void',
    );
    expect(stored[0]?.n).toBe(SWEEPS);
  });

  it('finds a planted difference, keeps the old delta, and repairs it while writes go on', async () => {
    // The last rows are nobody's in the workload: nothing writes them.
    const [{ id } = { id: 0 }] = await rows<{ id: number }>(
      pair.green.urls.superuser,
      `SELECT max(id)::integer AS id FROM "user" WHERE id < 4000`,
    );
    await plantOn(pair, 'green', `UPDATE settings SET llm_model = 'planted' WHERE id = ${id}`);
    const before = stream.applier.delta.keys();
    const found = await sweepNow();
    expect(found.mismatches).toEqual([
      { table: 'settings', key: String(id), kind: 'different', columns: ['llm_model'] },
    ]);
    expect(found.clean).toBe(false);
    expect(stream.applier.delta.keys()).toBe(before);
    expect(await repair(stream.ctx, stream.applier, found.mismatches, 'blue')).toBe(1);
    expect([...(stream.applier.delta.keys() as Set<number>)]).toContain(id);
    expect((await sweepNow()).mismatches).toEqual([]);
  });

  it('HISTORIES 6, rewriting DDL: is void when a table was rewritten meanwhile, and the delta is lost', async () => {
    await writing.pause();
    const applier = {
      delta: stream.applier.delta,
      holdBack: <T>(work: () => Promise<T>) => stream.applier.holdBack(work),
      cutBefore: async <T>(lsn: bigint, paused: () => Promise<T>) => {
        const result = await stream.applier.cutBefore(lsn, paused);
        await withClient(pair.blue.urls.owner, (c) =>
          c.query('ALTER TABLE user_settings ALTER max_iterations TYPE integer USING max_iterations * 100'),
        );
        return result;
      },
    };
    const document = await sweepPhase(stream.ctx, { serving: 'blue', applier, workers: 1 });
    expect(document.clean).toBe(false);
    expect(stream.applier.delta.lost).toBe(true);
    const [stored] = await rows(
      pair.green.urls.superuser,
      'SELECT clean, void FROM orchestrator.sweep ORDER BY id DESC LIMIT 1',
    );
    expect(stored).toEqual({ clean: false, void: true });
    // The next one sees what no message ever said.
    const next = await sweepNow();
    expect(new Set(next.mismatches.flatMap((m) => m.columns))).toEqual(new Set(['max_iterations']));
    await withClient(pair.blue.urls.owner, (c) =>
      c.query('ALTER TABLE user_settings ALTER max_iterations TYPE integer USING max_iterations / 100'),
    );
    expect((await sweepNow()).mismatches).toEqual([]);
    writing.resume();
  });

  it('compares the delta when both sides stand still', async () => {
    await writing.pause();
    await stream.drained();
    const keys = stream.applier.delta.keys();
    expect(keys).not.toBe('lost');
    const compare = (some: Iterable<number>) =>
      withClient(pair.blue.urls.sync, (blue) =>
        withClient(pair.green.urls.sync, (green) => compareKeys(stream.ctx, { blue, green }, some, 'blue')),
      );
    expect(await compare(keys as ReadonlySet<number>)).toEqual([]);
    await plantOn(pair, 'green', `DELETE FROM org_user WHERE user_id = 100`);
    expect(await compare([99, 100, 101])).toEqual([
      { table: 'org_user', key: 100, kind: 'missing', columns: [] },
    ]);
  });
});

describe('while green serves', () => {
  let pair: Pair;
  let stream: GreenServing;
  let writing: Workload;

  beforeAll(async () => {
    pair = await freshPair();
    await loadUsers(pair.blue.urls.owner, { users: 3_000, seed: 4 });
    stream = await greenServing(pair);
    writing = await workload(pair, 'green', 200);
  });
  afterAll(async () => {
    await writing?.stop();
    await stream?.stop();
    await pair.drop();
  });

  const sweepNow = () =>
    sweepPhase(stream.ctx, { serving: 'green', applier: stream.applier, workers: 2, chunkRows: 700 });

  it('finds nothing, sweep after sweep', { timeout: PATIENCE_MS }, async () => {
    for (let n = 0; n < SWEEPS; n++) {
      const document = await sweepNow();
      expect(document.mismatches).toEqual([]);
      expect(document.clean).toBe(true);
    }
  });

  it('finds what blue holds wrongly, and repairs it', async () => {
    await plantOn(
      pair,
      'blue',
      `UPDATE user_settings SET llm_model = 'planted', accepted_tos = 'infinity' WHERE id = 2990;
       DELETE FROM user_settings WHERE id = 2991;
       INSERT INTO user_settings (id) VALUES (-5)`,
    );
    const found = await sweepNow();
    expect(found.mismatches).toEqual([
      { table: 'user_settings', key: '-5', kind: 'extra', columns: [] },
      { table: 'user_settings', key: '2990', kind: 'different', columns: ['accepted_tos', 'llm_model'] },
      { table: 'user_settings', key: '2991', kind: 'missing', columns: [] },
    ]);
    expect(await repair(stream.ctx, stream.applier, found.mismatches, 'green')).toBe(3);
    expect((await sweepNow()).mismatches).toEqual([]);
  });
});

describe('once blue serves again', () => {
  let pair: Pair;
  let stream: ForwardStream;
  let writing: Workload;

  beforeAll(async () => {
    pair = await freshPair();
    await loadUsers(pair.blue.urls.owner, { users: 3_000, seed: 5 });
    const green = await greenServing(pair);
    const onGreen = await workload(pair, 'green', 200);
    await until('green to have users of its own', () => onGreen.statistics().signUps > 10);
    await onGreen.stop();
    // Whatever the workload came to: one organisation renamed, and one second member in it.
    await execute(
      pair.green.urls.app,
      `UPDATE org SET name = name || ' & co' WHERE id = (SELECT min(id) FROM "user");
       INSERT INTO org_user (org_id, user_id, role_id, status)
       SELECT min(id), max(id), 2, 'active' FROM "user"
       ON CONFLICT DO NOTHING`,
    );
    stream = await blueAgain(pair, green);
    writing = await workload(pair, 'blue', 200);
  });
  afterAll(async () => {
    await writing?.stop();
    await stream?.stop();
    await pair.drop();
  });

  const sweepNow = () =>
    sweepPhase(stream.ctx, { serving: 'blue', applier: stream.applier, workers: 2, chunkRows: 700 });

  it('finds nothing: rows that are not ours and constants green has changed are left alone', {
    timeout: PATIENCE_MS,
  }, async () => {
    const [green] = await rows<{ links: number; diverged: number; foreign: number }>(
      pair.green.urls.superuser,
      `SELECT (SELECT count(*)::integer FROM orchestrator.link) AS links,
              (SELECT count(*)::integer FROM orchestrator.diverged) AS diverged,
              (SELECT count(*)::integer FROM org_user WHERE org_id <> user_id) AS foreign`,
    );
    expect(green?.links).toBeGreaterThan(0);
    expect(green?.diverged).toBeGreaterThan(0);
    expect(green?.foreign).toBeGreaterThan(0);
    for (let n = 0; n < SWEEPS; n++) {
      const document = await sweepNow();
      expect(document.mismatches).toEqual([]);
      expect(document.clean).toBe(true);
    }
  });

  it('finds what green holds wrongly of its copied users and of those born there, and repairs it', async () => {
    await writing.pause();
    await stream.drained();
    const [ids] = await rows<{ copied: number; born: number; settings: number }>(
      pair.green.urls.superuser,
      `SELECT (SELECT max(id) FROM "user" AS u WHERE id < 3000
               AND NOT EXISTS (SELECT FROM orchestrator.diverged AS d WHERE d.k = u.id)
               AND NOT EXISTS (SELECT FROM orchestrator.link AS l WHERE l.k = u.id)) AS copied,
              l.k AS born, l.settings_id AS settings
       FROM orchestrator.link AS l JOIN "user" AS u ON u.id = l.k
       WHERE l.settings_id <> l.k ORDER BY l.k DESC LIMIT 1`,
    );
    const { copied = 0, born = 0, settings = 0 } = ids ?? {};
    await plantOn(
      pair,
      'green',
      `UPDATE settings SET llm_model = 'planted' WHERE id = ${settings};
       UPDATE org SET name = 'planted', contact_name = 'planted' WHERE id = ${copied};
       DELETE FROM org_user WHERE user_id = ${copied} AND org_id = ${copied}`,
    );
    const found = await sweepNow();
    expect(found.mismatches.map((m) => `${m.table} ${m.key} ${m.kind} ${m.columns.join()}`).sort()).toEqual([
      `org ${copied} different name,contact_name`,
      `org_user ${copied} missing `,
      `settings ${born} different llm_model`,
    ]);
    expect(await repair(stream.ctx, stream.applier, found.mismatches, 'blue')).toBe(2);
    expect((await sweepNow()).mismatches).toEqual([]);
    writing.resume();
  });

  it('finds a changed row that is not ours, until it is accepted; one that was put away whole is no loss', async () => {
    await writing.pause();
    await stream.drained();
    await plantOn(
      pair,
      'green',
      `INSERT INTO org (id, name, contact_name) VALUES (900001, 'theirs', 'x'), (900002, 'theirs too', 'x');
       INSERT INTO settings (id, org_id, mcp_config) VALUES (900001, 900001, '{"a": "\\u0000"}');
       INSERT INTO org_user VALUES (900001, 5, 2, 'invited'), (900001, 6, 2, 'invited'), (900001, 7, 2, 'invited')`,
    );
    expect((await sweepNow()).mismatches).toEqual([]);
    await plantOn(
      pair,
      'green',
      `UPDATE org SET contact_name = 'y' WHERE id = 900001;
       DELETE FROM org WHERE id = 900002;
       UPDATE settings SET mcp_config = '{"a":"\\u0000"}' WHERE id = 900001;
       UPDATE role SET rank = 3 WHERE id = 2;
       DELETE FROM org_user WHERE org_id = 900001 AND user_id = 5;
       WITH moved AS (DELETE FROM org_user AS t WHERE org_id = 900001 AND user_id = 6 RETURNING t.*::text AS row_text)
       INSERT INTO orchestrator.kept (k, table_name, row_text) SELECT 6, 'org_user', row_text FROM moved`,
    );
    const expected = [
      { table: 'role', key: '2', kind: 'different', columns: ['rank'] },
      { table: 'org_user', key: '5', kind: 'missing', columns: [] },
      { table: 'org', key: '900001', kind: 'different', columns: ['contact_name'] },
      { table: 'settings', key: '900001', kind: 'different', columns: ['mcp_config'] },
      { table: 'org', key: '900002', kind: 'missing', columns: [] },
    ];
    expect((await sweepNow()).mismatches).toEqual(expected);
    const again = await sweepNow();
    expect(again.mismatches).toEqual(expected);
    await repair(stream.ctx, stream.applier, again.mismatches, 'blue');
    expect((await sweepNow()).mismatches).toEqual([]);
    writing.resume();
  });
});

/** Moves serving back to blue, as a revert does, and starts the forward stream at what blue had written before. */
async function blueAgain(pair: Pair, former: GreenServing): Promise<ForwardStream> {
  const { ctx } = former;
  const generation = ctx.claim().generation + 1n;
  await former.drained();
  await withClient(pair.green.urls.sync, async (green) => {
    await former.stop();
    await withClient(pair.blue.urls.sync, async (blue) => {
      const l = formatLsn((await identify(blue)).flushedLsn);
      await green.query('BEGIN');
      await setFence(green, ctx, 'green', 'closed');
      await green.query(`UPDATE orchestrator.side SET generation = $1, role = 'standby'`, [generation]);
      await green.query(`UPDATE orchestrator.progress SET lsn = $1 WHERE direction = 'forward'`, [l]);
      await green.query('COMMIT');
      await blue.query('BEGIN');
      await setFence(blue, ctx, 'blue', 'open');
      await blue.query(`UPDATE orchestrator.side SET generation = $1, role = 'serving'`, [generation]);
      await blue.query('COMMIT');
      await alignSequences(blue, green, ctx);
      ctx.setClaim({ generation });
      await fillVacantKeys(green, ctx);
    });
  });
  return streamOf(pair, ctx);
}

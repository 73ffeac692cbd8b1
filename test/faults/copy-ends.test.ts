/** What holds a copy back, ends it or refuses it: signals, pauses, limits of production, a side that is not the same. */
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseLsn } from '../../orchestrator/pg/lsn.ts';
import { copyPhase } from '../../orchestrator/phases/copy.ts';
import { copyGuard } from '../../orchestrator/phases/copy-guard.ts';
import { chunksOf, copyAndBuild, expectSame, fill, prepared } from '../support/copy-trial.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
beforeEach(async () => {
  pair = await freshPair();
});
afterEach(async () => pair.drop());

describe('what ends a copy', () => {
  it('a signal, at once, and the next call goes on', async () => {
    await fill(pair, 9_000);
    const { ctx, slot, built } = await prepared(pair);
    const stop = new AbortController();
    const copying = copyPhase({ ...ctx, signal: stop.signal }, slot, { maxRateBytes: 100_000 });
    await until('the copy to begin', async () => (await chunksOf(pair)).length > 0);
    stop.abort(new Error('told to end'));
    await expect(copying).rejects.toThrow('told to end');
    await slot.release();
    await until('its sessions to be gone', async () => {
      const left = await rows(
        pair.green.urls.superuser,
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'orchestrate/copy'`,
      );
      return left.length === 0;
    });
    await copyAndBuild(ctx, 'resume');
    await expectSame(pair, built, 9_000);
  });

  it('a pause does not: it waits and says so, and goes on', async () => {
    await fill(pair, 9_000);
    const { ctx, slot } = await prepared(pair);
    let paused: string | undefined = 'asked for';
    const copying = copyPhase(ctx, slot, { shouldPause: async () => paused });
    await until('the pause to be known', () => ctx.entries.some((e) => e.detail['paused'] === 'asked for'));
    expect((await chunksOf(pair)).every((c) => c.status === 'pending')).toBe(true);
    paused = undefined;
    await copying;
    await slot.release();
    expect(ctx.entries.filter((e) => e.detail['resumed'] === true)).toHaveLength(1);
    expect((await chunksOf(pair)).every((c) => c.status === 'done')).toBe(true);
  });

  it('a transaction on blue that is too old does not either: the copy waits until it has ended', async () => {
    await fill(pair, 9_000);
    const { ctx, slot } = await prepared(pair);
    const guard = copyGuard(ctx, { transactionAgeMs: 1, retainedWalBytes: null, replicaLagBytes: null });
    let copying: Promise<void> | undefined;
    await withClient(pair.blue.urls.sync, async (reader) => {
      await reader.query('BEGIN');
      await reader.query('SELECT FROM user_settings LIMIT 1');
      copying = copyPhase(ctx, slot, { shouldPause: guard });
      await until('the pause to be known', () =>
        ctx.entries.some((e) => String(e.detail['paused']).includes('older than')),
      );
      expect((await chunksOf(pair)).every((c) => c.status === 'pending')).toBe(true);
    });
    await copying;
    await slot.release();
    expect((await chunksOf(pair)).every((c) => c.status === 'done')).toBe(true);
  });

  it('another replica of blue that falls behind does not either: the copy waits until it has caught up or gone', async () => {
    await fill(pair, 10);
    const { ctx, slot } = await prepared(pair);
    await slot.release();
    const limits = { transactionAgeMs: null, retainedWalBytes: null, replicaLagBytes: 100_000n };
    const said: string[] = [];
    const log = { ...ctx.log, warn: (_: object, message: string) => void said.push(message) };
    expect(await copyGuard({ ...ctx, log }, limits)()).toBeUndefined();
    expect(said).toEqual([expect.stringContaining('hidden')]);
    const { username } = new URL(pair.blue.urls.sync);
    await execute(pair.blue.urls.superuser, `GRANT pg_read_all_stats TO "${username}"`);
    const subscriber = new pg.Client({
      connectionString: pair.blue.urls.superuser,
      application_name: 'somebody else',
      replication: 'database',
    } as pg.ClientConfig);
    subscriber.on('error', () => {});
    await subscriber.connect();
    const name = `${pair.blue.database}_other`;
    const { rows: made } = await subscriber.query<{ consistent_point: string }>(
      `CREATE_REPLICATION_SLOT ${name} TEMPORARY LOGICAL test_decoding NOEXPORT_SNAPSHOT`,
    );
    const { connection } = subscriber as unknown as { connection: ReplicationWire };
    connection.query(`START_REPLICATION SLOT ${name} LOGICAL 0/0`);
    // It says once how far it is, and then nothing more.
    const position = parseLsn(made[0]?.consistent_point ?? '');
    const status = Buffer.alloc(34);
    status.write('r');
    for (const at of [1, 9, 17]) status.writeBigInt64BE(position, at);
    connection.sendCopyFromChunk(status);
    await execute(
      pair.blue.urls.owner,
      `CREATE TABLE noise AS SELECT md5(n::text) AS x FROM generate_series(1, 20000) AS n`,
    );
    // Everything is on its way, and nothing is there yet: what counts is what the replica has said.
    await until('all of it to be sent', async () => {
      const [sent] = await rows<{ all: boolean }>(pair.blue.urls.superuser, ALL_SENT, [name]);
      return sent?.all;
    });
    expect(await copyGuard(ctx, limits)()).toMatch(/^a replica of blue/);
    const guard = copyGuard(ctx, limits);
    await subscriber.end();
    await until('the copy to go on', async () => (await guard()) === undefined);
    await execute(pair.blue.urls.superuser, `REVOKE pg_read_all_stats FROM "${username}"`);
  });

  it('a server that is not the one the first snapshot came from', async () => {
    await fill(pair, 10);
    const { ctx, slot } = await prepared(pair);
    await slot.release();
    await execute(pair.green.urls.sync, `UPDATE orchestrator.progress SET system_identifier = '1'`);
    await expect(copyPhase(ctx, 'resume')).rejects.toMatchObject({ code: 'IDENTITY_CHANGED' });
    expect(await chunksOf(pair)).toEqual([]);
  });

  it('a slot that is gone: without it no snapshot can be followed up', async () => {
    await fill(pair, 10);
    const { ctx, slot } = await prepared(pair);
    await slot.release();
    await rows(pair.blue.urls.superuser, 'SELECT pg_drop_replication_slot($1)', [ctx.names.slot.blue]);
    await expect(copyPhase(ctx, 'resume')).rejects.toMatchObject({ code: 'SLOT_MISSING' });
    expect(await chunksOf(pair)).toEqual([]);
  });
});

const ALL_SENT = `
  SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), r.sent_lsn) < 50000 AS all
  FROM pg_replication_slots AS s JOIN pg_stat_replication AS r ON r.pid = s.active_pid
  WHERE s.slot_name = $1`;

/** The part of the driver's connection that a replication command goes through. */
interface ReplicationWire {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
}

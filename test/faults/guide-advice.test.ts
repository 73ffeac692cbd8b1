/** What the migration guide advises besides the steps themselves: a backup, an eye on locks, and on queries. */
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MigrateDocument } from '../../orchestrator/phases/migrate.ts';
import type { PreflightDocument, StatusDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { fill055 } from '../support/in-place.ts';
import { orchestrate as inProcess } from '../support/in-process.ts';
import { until } from '../support/until.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await freshPair();
  await fill055(pair, 500);
});
afterAll(async () => {
  await pair.drop();
});

const orchestrate = (...args: string[]) =>
  inProcess(args, {
    ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
    ORCHESTRATE_GREEN_URL: pair.green.urls.sync,
  });

it('preflight warns until a backup is confirmed; a warning stops nothing', async () => {
  const backups = async (...more: string[]) => {
    const { findings } = (await orchestrate('preflight', '--json', ...more)).json<PreflightDocument>();
    return findings.filter((f) => f.check === 'backup').map((f) => [f.severity, f.fix]);
  };
  expect(await backups()).toEqual([['warn', 'make one, then orchestrate preflight --backup-confirmed']]);
  expect(await backups('--backup-confirmed')).toEqual([]);
});

it('status and migrate status name who waits for a lock on the tables, and whom for', async () => {
  const open = async () => {
    const client = new pg.Client({ connectionString: pair.blue.urls.app });
    await client.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    return { client, pid: rows[0]?.pid };
  };
  const [holder, waiter] = [await open(), await open()];
  try {
    await holder.client.query('BEGIN; LOCK TABLE user_settings IN EXCLUSIVE MODE');
    const waiting = waiter.client.query(`UPDATE user_settings SET agent = 'later' WHERE id = 1`);
    const expected = {
      side: 'blue',
      pid: waiter.pid,
      ours: false,
      mode: 'RowExclusiveLock',
      blocked_by: [{ pid: holder.pid, ours: false }],
    };
    let seen: StatusDocument['lock_waits'];
    await until('the wait is seen', async () => {
      seen = (await orchestrate('status', '--json')).json<StatusDocument>().lock_waits;
      return (seen?.length ?? 0) > 0;
    });
    expect(seen).toMatchObject([expected]);
    expect(seen?.[0]?.relation).toMatch(/user_settings$/);
    expect((await orchestrate('status')).stdout).toMatch(
      new RegExp(`^Waits +blue: pid ${waiter.pid} for .* held by pid ${holder.pid}$`, 'm'),
    );
    const migrate = await orchestrate('migrate', 'status', '--side', 'blue', '--json');
    expect(migrate.json<MigrateDocument>().lock_waits).toMatchObject([expected]);
    await holder.client.query('ROLLBACK');
    await waiting;
  } finally {
    await holder.client.end();
    await waiter.client.end();
  }
  expect((await orchestrate('status', '--json')).json<StatusDocument>().lock_waits).toEqual([]);
});

it('after 057 the same question is timed through both schemas', async () => {
  const up = await orchestrate('migrate', 'up', '--side', 'blue', '--json');
  expect(up.exit).toBe(0);
  expect(up.stderr).toContain('no backup is confirmed');
  const status = await orchestrate('migrate', 'status', '--side', 'blue', '--json');
  const { in_place } = status.json<MigrateDocument>();
  expect(in_place?.query_seconds?.old).toBeGreaterThan(0);
  expect(in_place?.query_seconds?.new).toBeGreaterThan(0);
  expect(in_place?.database_bytes_after).toBeGreaterThan(in_place?.database_bytes_before ?? 0);
});

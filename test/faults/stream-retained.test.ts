import { afterEach, beforeEach, expect, test } from 'vitest';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { bothSides, type ForwardStream, forwardStream } from '../support/forward-stream.ts';
import { execute, rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

const MIB = 1024 * 1024;
/** WAL in all (2,048 MiB is what is promised for; by default less), and how much of it comes at once. */
const TOTAL = Number(process.env['ORCHESTRATE_TEST_WAL_MIB'] ?? 512) * MIB;
const BURST = 100 * MIB;
const BOUND = 200 * MIB;
const ROW_BYTES = 10_000;

let pair: OwnPair;
let stream: ForwardStream | undefined;

beforeEach(async () => {
  // A slot's oldest position moves where the server writes down which transactions run: at checkpoints, which are
  // frequent on a server that is busy.
  pair = await ownPair({ blue: { max_wal_size: '96MB', min_wal_size: '80MB', checkpoint_timeout: '30s' } });
});

afterEach(async () => {
  await stream?.stop();
  stream = undefined;
  await pair.drop();
});

/** Bytes of WAL since the beginning, and those that blue keeps for our slot. */
async function wal(): Promise<{ readonly written: number; readonly retained: number }> {
  const [row] = await rows<{ written: string; retained: string }>(
    pair.blue.urls.superuser,
    `SELECT pg_current_wal_lsn() - '0/0' AS written, pg_current_wal_lsn() - restart_lsn AS retained
     FROM pg_replication_slots WHERE database = current_database()`,
  );
  return { written: Number(row?.written), retained: Number(row?.retained) };
}

test('much WAL of another table: what blue keeps for an idle table stays under 200 MB', async () => {
  const { superuser } = pair.blue.urls;
  await execute(
    superuser,
    `CREATE TABLE busy (id integer, v text);
     ALTER TABLE busy ALTER v SET STORAGE EXTERNAL`,
  );
  stream = await forwardStream(pair);
  await stream.blue(
    `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'k' || n FROM generate_series(1, 10) n`,
  );
  await stream.drained();
  const begun = (await wal()).written;
  let most = 0;
  for (let last = begun; last - begun < TOTAL; ) {
    await execute(
      superuser,
      `TRUNCATE busy;
       INSERT INTO busy SELECT n, repeat('x', ${ROW_BYTES}) FROM generate_series(1, ${BURST / ROW_BYTES}) n`,
    );
    const now = await wal();
    expect(now.written - last).toBeGreaterThan(BURST / 2);
    most = Math.max(most, now.retained);
    last = now.written;
    // Nothing is written to the table we follow; the position moves all the same.
    await until(
      'blue to keep less',
      async () => {
        // On a server without other work nobody writes a checkpoint; on a busy one it comes by itself.
        await execute(superuser, 'CHECKPOINT');
        const { retained } = await wal();
        most = Math.max(most, retained);
        return retained < BOUND / 4;
      },
      60_000,
    );
  }
  expect(most).toBeLessThan(BOUND);
  // And the stream has not fallen asleep over it.
  await stream.blue(`UPDATE user_settings SET language = 'awake'`);
  await stream.drained();
  const sides = await bothSides(pair);
  expect(sides.blue).toHaveLength(10);
  expect(sides.green).toEqual(sides.blue);
});

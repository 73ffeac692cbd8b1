/** HISTORIES 1: the walsender sends a commit that queries do not see yet. */
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { visible } from '../../orchestrator/stream/visibility.ts';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { blueRow, type GreenServing, greenServing } from '../support/green-serving.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: OwnPair;
let side: GreenServing | undefined;
let writer: pg.Client | undefined;

beforeEach(async () => {
  pair = await ownPair();
});
afterEach(async () => {
  await execute(pair.green.urls.superuser, `ALTER SYSTEM SET synchronous_standby_names = ''`);
  await execute(pair.green.urls.superuser, 'SELECT pg_reload_conf()');
  await writer?.end().catch(() => {});
  await side?.stop();
  await pair.drop();
});

const stored = async () =>
  (await rows<{ lsn: string }>(pair.blue.urls.superuser, `SELECT lsn FROM orchestrator.progress`))[0]?.lsn;

test('HISTORIES 1, commit streamed before it is visible: one that is streamed while it waits for a synchronous standby is neither lost nor acknowledged', async () => {
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (1, 'one', 'old')`,
  );
  side = await greenServing(pair);
  await side.drained();
  // Commits are flushed, streamed, and then wait for somebody who never comes.
  await execute(pair.green.urls.superuser, `ALTER SYSTEM SET synchronous_standby_names = 'nobody'`);
  await execute(pair.green.urls.superuser, 'SELECT pg_reload_conf()');
  await until('the setting to be in force', async () => {
    const [row] = await rows<{ s: string }>(
      pair.green.urls.app,
      `SELECT current_setting('synchronous_standby_names') AS s`,
    );
    return row?.s === 'nobody';
  });
  writer = new pg.Client({ connectionString: pair.green.urls.app });
  writer.on('error', () => undefined);
  await writer.connect();
  const update = writer.query(`UPDATE settings SET language = 'new' WHERE id = 1`);
  update.catch(() => {});

  await until(
    'the applier to meet the commit that it cannot see',
    () => side?.applier.status.error?.code === 'NOT_VISIBLE',
  );
  const [seen] = await rows(pair.green.urls.superuser, 'SELECT language FROM settings');
  expect(seen).toEqual({ language: 'old' });
  const before = await stored();
  await until('it to have tried again', () => (side?.applier.status.reconnects ?? 0) >= 2);
  expect(await stored()).toBe(before);
  expect(await blueRow(pair, 1)).toMatchObject({ language: 'old' });
  expect(side.applier.status.fatal).toBe(false);

  await execute(pair.green.urls.superuser, `ALTER SYSTEM SET synchronous_standby_names = ''`);
  await execute(pair.green.urls.superuser, 'SELECT pg_reload_conf()');
  await update;
  await side.drained();
  expect(await blueRow(pair, 1)).toMatchObject({ language: 'new' });
});

test('ids on either side of the snapshot are told apart, beyond xmax too', async () => {
  const open = async () => {
    const client = new pg.Client({ connectionString: pair.green.urls.superuser });
    await client.connect();
    await client.query('BEGIN');
    const { rows: ids } = await client.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
    return { client, xid: Number(BigInt(ids[0]?.xid ?? 0) & 0xffff_ffffn) };
  };
  const see = async (xids: number[]) =>
    withClient(pair.green.urls.superuser, async (client) => {
      const { rows: found } = await client.query<{ ok: boolean; xmax: string }>(
        `SELECT ${visible('$1')} AS ok, pg_snapshot_xmax(pg_current_snapshot())::text AS xmax`,
        [xids],
      );
      return { ok: found[0]?.ok, xmax: Number(found[0]?.xmax) };
    });
  const first = await open();
  const second = await open();
  // Nothing later has ended: xmax is at most the first of them, and the second lies beyond it.
  expect((await see([])).xmax).toBeLessThanOrEqual(second.xid);
  expect((await see([first.xid])).ok).toBe(false);
  expect((await see([second.xid])).ok).toBe(false);
  await second.client.query('COMMIT');
  expect((await see([second.xid])).ok).toBe(true);
  expect((await see([second.xid, first.xid])).ok).toBe(false);
  await first.client.query('COMMIT');
  expect((await see([second.xid, first.xid])).ok).toBe(true);
  expect((await see([])).ok).toBe(true);
  // Ids of an earlier turn of the 32-bit counter's low half are old, not future.
  expect((await see([first.xid - 100])).ok).toBe(true);
  await Promise.all([first.client.end(), second.client.end()]);
});

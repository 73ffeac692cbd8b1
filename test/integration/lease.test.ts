import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { Lease } from '../../orchestrator/runner/lease.ts';
import {
  cancelStale,
  claimRequest,
  finishDecided,
  writeRequest,
} from '../../orchestrator/runner/requests.ts';
import { createSlot, dropSlot } from '../../orchestrator/stream/slot.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { proxyTo, type TcpProxy } from '../support/proxy.ts';
import { runContext, type TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

describe('two runners, one lease', () => {
  let pair: Pair;
  let ctx: TestContext;
  let proxy: TcpProxy | undefined;
  const leases: Lease[] = [];
  const never = new AbortController().signal;

  beforeEach(async () => {
    pair = await freshPair();
    ctx = runContext(pair, `t-${randomBytes(4).toString('hex')}`);
    await ensureControl(ctx);
  });
  afterEach(async () => {
    await Promise.all(leases.splice(0).map((lease) => lease.release()));
    await proxy?.close();
    proxy = undefined;
    await pair.drop();
  });

  const acquire = async (context: TestContext, wait: boolean): Promise<Lease> => {
    const lease = await Lease.acquire(context.names, context.endpoints, wait, never);
    leases.push(lease);
    return lease;
  };

  it('a runner that hears nothing from blue any more gives its lease up, and the one that waits gets it', async () => {
    proxy = await proxyTo(pair.blue.urls.sync);
    const apart = runContext(
      { blue: { urls: { sync: proxy.url(pair.blue.urls.sync) } }, green: pair.green },
      ctx.names.migration,
    );
    const first = await acquire(apart, false);
    await expect(acquire(ctx, false)).rejects.toMatchObject({ code: 'LEASE_HELD' });
    proxy.holdAnswersTo('SELECT 1');
    const second = await acquire(ctx, true);
    await until('the first to know it', () => first.signal.aborted);
    expect(first.signal.reason).toMatchObject({ code: 'LEASE_LOST' });
    expect(second.epoch).toBeGreaterThan(first.epoch);
  });

  it('epochs that are taken while the lease is renewed do not cost it', async () => {
    const lease = await acquire(ctx, false);
    const renewed = async () => {
      const [row] = await rows<{ left: number }>(
        pair.green.urls.sync,
        'SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 AS left FROM orchestrator.lease',
      );
      return row?.left ?? 0;
    };
    let least = await renewed();
    let epochs = 0;
    await until('a renewal in the midst of it', async () => {
      await lease.advance(ctx.endpoints);
      epochs++;
      const left = await renewed();
      if (left > least) return true;
      least = left;
      return null;
    });
    expect(epochs).toBeGreaterThan(10);
    expect(lease.signal.aborted).toBe(false);
  });

  it('a zombie drops no slot', async () => {
    const name = ctx.names.slot.green;
    await (await createSlot(ctx, 'green', { name, temporary: false })).release();
    const slots = () =>
      rows(pair.green.urls.superuser, 'SELECT FROM pg_replication_slots WHERE slot_name = $1', [name]);
    await execute(pair.green.urls.sync, 'UPDATE orchestrator.side SET epoch = epoch + 1');
    await dropSlot(ctx, 'green', name, ctx.claim());
    expect(await slots()).toHaveLength(1);
    await dropSlot(ctx, 'green', name, { ...ctx.claim(), epoch: 1n });
    expect(await slots()).toHaveLength(0);
  });

  it('a zombie takes no request of the runner that came after it', async () => {
    const { migration } = ctx.names;
    await withClient(pair.green.urls.sync, async (client) => {
      await client.query('UPDATE orchestrator.side SET epoch = 2');
      const id = await writeRequest(
        client,
        migration,
        { command: 'verify', options: { repair: false } },
        60_000,
        'pending',
      );
      expect(await claimRequest(client, migration, 1n, 1n)).toBeNull();
      expect(await claimRequest(client, migration, 2n, 2n)).toMatchObject({ id });
    });
  });

  it('a request that was decided before its runner died is answered with what became of it', async () => {
    const { migration } = ctx.names;
    await withClient(pair.green.urls.sync, async (client) => {
      const request = (command: 'cutover' | 'verify') =>
        writeRequest(
          client,
          migration,
          { command, options: { repair: false } } as Parameters<typeof writeRequest>[2],
          60_000,
          'claimed',
        );
      const decided = await request('cutover');
      const dropped = await request('verify');
      const next = { migration, epoch: 1n, generation: 1n };
      await finishDecided(client, next, 'cutover', 'green');
      await cancelStale(client, next);
      const { rows: found } = await client.query<{ id: string; status: string; exit: number | null }>(
        `SELECT id::text, status, (result->>'exit')::integer AS exit FROM orchestrator.request ORDER BY id`,
      );
      expect(found).toEqual([
        { id: decided, status: 'done', exit: 6 },
        { id: dropped, status: 'cancelled', exit: null },
      ]);
    });
  });

  it('however many tables are fenced, writers wait behind them once', async () => {
    await withClient(pair.blue.urls.owner, async (holder) => {
      await holder.query('CREATE TABLE public.other (id integer)');
      await holder.query('BEGIN; LOCK TABLE public.user_settings');
      await withClient(pair.blue.urls.sync, async (locker) => {
        const { rows: me } = await locker.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
        const locked = locker.query(`
          BEGIN;
          SELECT orchestrator.lock_tables(ARRAY['public.user_settings', 'public.other'], 20000)`);
        await until('the locker to wait for a second', async () => {
          const [row] = await rows<{ waited: boolean }>(
            pair.blue.urls.superuser,
            `SELECT clock_timestamp() - waitstart > interval '1 s' AS waited
             FROM pg_locks WHERE pid = $1 AND NOT granted`,
            [me[0]?.pid],
          );
          return row?.waited;
        });
        await holder.query('COMMIT');
        await locked;
        const { rows: left } = await locker.query<{ ms: number }>(
          `SELECT setting::integer AS ms FROM pg_settings WHERE name = 'lock_timeout'`,
        );
        expect(left[0]?.ms).toBeLessThanOrEqual(19_000);
        await locker.query('ROLLBACK');
      });
    });
  });
});

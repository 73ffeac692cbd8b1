import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { failure, type OrchestrateError } from '../errors/failure.ts';
import { isGone, sqlState } from '../errors/sqlstate.ts';
import { connect, cut } from '../pg/connect.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import { SIDES, type Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import type { Names } from '../state/names.ts';
import { readSide } from '../state/store.ts';

const RENEW_EVERY_MS = 5_000;
const LEASE_SECONDS = 15;
const ANSWER_MS = 8_000;
const BUMP_LOCK_MS = 500;
const STALE_LOOKS = 10;

/**
 * The runner's lease (DESIGN 4): advisory locks on both sides on connections of their own, and an epoch on both that
 * every write of ours names. Losing either connection loses the lease.
 */
export class Lease {
  readonly holder: string;
  private readonly lost = new AbortController();
  private timer: NodeJS.Timeout | undefined;
  private renewing: Promise<void> = Promise.resolve();
  private releasing = false;
  private busy = false;
  private currentEpoch: bigint;
  private readonly names: Names;
  private readonly clients: Readonly<Record<Side, pg.Client>>;

  private constructor(
    names: Names,
    clients: Readonly<Record<Side, pg.Client>>,
    holder: string,
    epoch: bigint,
  ) {
    this.names = names;
    this.clients = clients;
    this.holder = holder;
    this.currentEpoch = epoch;
    for (const side of SIDES)
      clients[side].once('end', () => {
        this.lose(failure('LEASE_LOST', { found: `the lease connection to ${side} ended` }));
      });
    this.timer = setInterval(() => {
      if (!this.busy) this.renewing = this.alone(() => this.renew());
    }, RENEW_EVERY_MS);
  }

  get epoch(): bigint {
    return this.currentEpoch;
  }

  /** Aborted, with LEASE_LOST as its reason, when the lease is gone. */
  get signal(): AbortSignal {
    return this.lost.signal;
  }

  /**
   * Takes the lease of a migration whose control schemas exist.
   * @param wait wait for the holder to end or to let its lease run out, instead of failing.
   * @throws OrchestrateError LEASE_HELD; CANNOT_CONNECT.
   */
  static async acquire(
    names: Names,
    endpoints: Readonly<Record<Side, Endpoint>>,
    wait: boolean,
    signal: AbortSignal,
  ): Promise<Lease> {
    const open = async (side: Side) => connect(endpoints[side], { purpose: 'lease', shortKeepalive: true });
    const green = await open('green');
    let blue: pg.Client | undefined;
    try {
      blue = await open('blue');
      const clients = { blue, green };
      // Green first, always: two runners that took one lock each would wait for each other.
      for (const side of ['green', 'blue'] as const)
        await takeLock(clients[side], clients.green, names, wait, signal);
      const holder = `${os.hostname()}:${process.pid}`;
      const epoch = await bumpEpochs(names, endpoints, clients);
      await clients.green.query(
        `INSERT INTO orchestrator.lease (migration, holder, epoch, lease_until)
         VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
         ON CONFLICT (migration) DO UPDATE
         SET holder = excluded.holder, epoch = excluded.epoch, lease_until = excluded.lease_until`,
        [names.migration, holder, epoch.toString(), LEASE_SECONDS],
      );
      return new Lease(names, clients, holder, epoch);
    } catch (error) {
      await green.end().catch(() => {});
      await blue?.end().catch(() => {});
      throw error;
    }
  }

  /**
   * Takes the next epoch on both sides while keeping the lease: after a statement whose outcome is unknown, nothing of
   * the old epoch can land any more (HISTORIES 9 to 12).
   */
  async advance(endpoints: Readonly<Record<Side, Endpoint>>): Promise<bigint> {
    await this.renewing;
    await this.alone(() => this.bump(endpoints));
    return this.currentEpoch;
  }

  /** Renewals and bumps share their sessions: one inside the other's transaction would fail with it. */
  private async alone(work: () => Promise<void>): Promise<void> {
    this.busy = true;
    try {
      await work();
    } finally {
      this.busy = false;
    }
  }

  private async bump(endpoints: Readonly<Record<Side, Endpoint>>): Promise<void> {
    this.currentEpoch = await bumpEpochs(this.names, endpoints, this.clients);
    await this.clients.green.query('UPDATE orchestrator.lease SET epoch = $2 WHERE migration = $1', [
      this.names.migration,
      this.currentEpoch.toString(),
    ]);
  }

  /** Gives the lease back. @param controlGone the control schemas are dropped: only the connections end. */
  async release(controlGone = false): Promise<void> {
    this.releasing = true;
    clearInterval(this.timer);
    await this.renewing;
    if (!controlGone && !this.lost.signal.aborted)
      await this.clients.green
        .query(
          'UPDATE orchestrator.lease SET lease_until = clock_timestamp() WHERE migration = $1 AND epoch = $2',
          [this.names.migration, this.currentEpoch.toString()],
        )
        .catch(() => {});
    for (const side of SIDES) await this.clients[side].end().catch(() => {});
  }

  private async renew(): Promise<void> {
    try {
      // Blue first, and bounded: a runner that has lost blue must let its lease run out, or the one that waits never
      // takes over.
      await answered(this.clients.blue.query('SELECT 1'), 'blue');
      const { rowCount } = await answered(
        this.clients.green.query(
          `UPDATE orchestrator.lease SET lease_until = clock_timestamp() + make_interval(secs => $3)
           WHERE migration = $1 AND epoch = $2`,
          [this.names.migration, this.currentEpoch.toString(), LEASE_SECONDS],
        ),
        'green',
      );
      if (rowCount !== 1 && !this.releasing)
        this.lose(failure('LEASE_LOST', { expected: `epoch ${this.currentEpoch}`, found: 'a newer epoch' }));
    } catch (cause) {
      // Finalize and abort drop the control schema while they hold the lease.
      if (!this.releasing && !isGone(cause))
        this.lose(failure('LEASE_LOST', { found: 'the lease could not be renewed', cause }));
    }
  }

  private lose(reason: OrchestrateError): void {
    if (this.releasing) return;
    clearInterval(this.timer);
    this.lost.abort(reason);
    // What still waits for an answer that never comes is told so, and the locks are free for the next runner.
    for (const side of SIDES) cut(this.clients[side]);
  }
}

/** @throws OrchestrateError TIMED_OUT when the answer does not come in time. */
async function answered<T>(answer: Promise<T>, side: Side): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(failure('TIMED_OUT', { expected: `an answer of ${side} in ${ANSWER_MS} ms`, found: 'none' })),
      ANSWER_MS,
    );
  });
  answer.catch(() => {});
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

/** @returns who holds the lease, or null when nobody does or it has run out; read on green. */
export async function leaseHolder(green: pg.ClientBase, names: Names): Promise<string | null> {
  const { rows } = await green.query<{ holder: string }>(
    `SELECT l.holder
     FROM orchestrator.lease AS l
     WHERE l.migration = $1 AND l.lease_until > clock_timestamp()
       AND EXISTS (
         SELECT FROM pg_locks AS k
         WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
           AND (k.classid::bigint << 32) | k.objid::bigint = $2::bigint
           AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))`,
    [names.migration, names.leaseLock],
  );
  return rows[0]?.holder ?? null;
}

async function takeLock(
  client: pg.Client,
  green: pg.Client,
  names: Names,
  wait: boolean,
  signal: AbortSignal,
): Promise<void> {
  let stale = 0;
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>(
      'SELECT pg_try_advisory_lock($1::bigint) AS taken',
      [names.leaseLock],
    );
    if (rows[0]?.taken) return;
    const { rows: leases } = await green.query<{ holder: string; over: boolean }>(
      'SELECT holder, lease_until < clock_timestamp() AS over FROM orchestrator.lease WHERE migration = $1',
      [names.migration],
    );
    // A holder that has not renewed is stopped or cut off: its sessions are ended, its late writes meet the new epoch.
    // Seen stale for a while: whoever took the lock a moment ago has not written its lease yet.
    stale = leases[0]?.over === false ? 0 : stale + 1;
    if (stale > STALE_LOOKS) await terminateHolders(client, names);
    else if (!wait && stale === 0)
      throw failure('LEASE_HELD', { expected: 'a free lease', found: `held by ${leases[0]?.holder}` });
    await delay(200, undefined, { signal }).catch(() => {
      throw failure('TERMINATED');
    });
  }
}

async function terminateHolders(client: pg.Client, names: Names): Promise<void> {
  await client.query(
    `SELECT pg_terminate_backend(k.pid)
     FROM pg_locks AS k
     WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
       AND (k.classid::bigint << 32) | k.objid::bigint = $1::bigint
       AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND k.pid <> pg_backend_pid()`,
    [names.leaseLock],
  );
}

/**
 * Epochs begin at the time, not at one: those of a run that was aborted are never reused by the next one of that name,
 * so a session left over from it can do nothing to the new one (I10).
 */
const CLOCK = 'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms';

/** Sets the same next epoch on both sides; what still holds the old one is waited for, then ended. */
async function bumpEpochs(
  names: Names,
  endpoints: Readonly<Record<Side, Endpoint>>,
  clients: Readonly<Record<Side, pg.Client>>,
): Promise<bigint> {
  const rows = {
    blue: await readSide(clients.blue, names.migration),
    green: await readSide(clients.green, names.migration),
  };
  if (!rows.blue || !rows.green)
    throw failure('WRONG_PHASE', {
      expected: 'a control schema on both sides',
      found: 'none on one of them',
    });
  const { rows: clock } = await clients.green.query<{ ms: string }>(CLOCK);
  let next = BigInt(clock[0]?.ms ?? 0);
  for (const { epoch } of [rows.blue, rows.green]) if (epoch >= next) next = epoch + 1n;
  for (const side of SIDES) await bumpEpoch(clients[side], endpoints[side], names, next);
  return next;
}

async function bumpEpoch(client: pg.Client, endpoint: Endpoint, names: Names, next: bigint): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await transaction(client, async () => {
        await client.query(`SET LOCAL lock_timeout = '${BUMP_LOCK_MS}ms'`);
        const { rowCount } = await client.query(
          'UPDATE orchestrator.side SET epoch = $2 WHERE migration = $1 AND epoch < $2',
          [names.migration, next.toString()],
        );
        if (rowCount !== 1)
          throw failure('LEASE_HELD', { message: 'another runner has taken the epoch at the same moment' });
      });
      return;
    } catch (error) {
      if (sqlState(error) !== '55P03' || attempt >= 20) throw error;
      await terminateRowHolders(endpoint);
    }
  }
}

/** Ends sessions of ours that hold a lock on the epoch row; nobody else has a right to touch it. */
async function terminateRowHolders(endpoint: Endpoint): Promise<void> {
  const client = await connect(endpoint, { purpose: 'takeover' });
  try {
    await client.query(`
      SELECT pg_terminate_backend(a.pid)
      FROM pg_locks AS k
      JOIN pg_stat_activity AS a ON a.pid = k.pid
      WHERE k.relation = 'orchestrator.side'::regclass AND k.granted
        AND a.usename = session_user AND a.pid <> pg_backend_pid() AND a.application_name <> 'orchestrate/lease'`);
  } finally {
    await client.end();
  }
}

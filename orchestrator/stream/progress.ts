import type pg from 'pg';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { formatLsn, type Lsn, parseLsn } from '../pg/lsn.ts';
import type { Direction } from '../pg/side.ts';
import { commit, transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { slotOf } from '../state/names.ts';

/** How far a stream is durably applied, and which slot of which server that speaks of (I13). */
export interface Progress {
  readonly slot: string;
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly lsn: Lsn;
}

interface Row {
  readonly slot: string;
  readonly system_identifier: string;
  readonly timeline: number;
  readonly lsn: string;
}

const LOCK = `
  SELECT slot, system_identifier, timeline, lsn::text AS lsn
  FROM orchestrator.progress
  WHERE direction = $1
  FOR UPDATE`;

const STORE = `
  UPDATE orchestrator.progress
  SET lsn = $2::pg_lsn, updated_at = clock_timestamp()
  WHERE direction = $1 AND lsn = $3::pg_lsn AND slot = $4 AND system_identifier = $5`;

const END_SESSION = `
  SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
  WHERE pid = $1 AND backend_start = $2::timestamptz`;

/** One of our sessions, so that it can be told from a later one with the same pid. */
export interface Backend {
  readonly pid: number;
  readonly start: string;
}

/** @returns which backend serves `client`. */
export async function backendOf(client: pg.ClientBase): Promise<Backend> {
  const { rows } = await client.query<Backend>(
    'SELECT pid, backend_start::text AS start FROM pg_stat_activity WHERE pid = pg_backend_pid()',
  );
  if (rows[0] === undefined) throw failure('INTERNAL', { message: 'a session does not see itself' });
  return rows[0];
}

/**
 * Reads the stored position after every earlier session of ours has finished with it.
 *
 * Every write transaction of an applier locks this row first. So a batch whose outcome is unknown either is visible
 * here, or its session is ended before we read: it cannot land afterwards (HISTORIES 2).
 * @param former the session whose transaction may still be open.
 */
export async function readProgress(
  client: pg.Client,
  ctx: Context,
  direction: Direction,
  former: Backend | undefined,
): Promise<Progress> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction(client, async () => {
        await client.query(`SET LOCAL lock_timeout = '5s'`);
        await holdClaim(client, ctx.claim());
        return await lockRow(client, ctx, direction);
      });
    } catch (error) {
      if (sqlState(error) !== '55P03' || former === undefined || attempt > 3) throw error;
      ctx.log.warn({ pid: former.pid }, 'ending the former session of the applier');
      await client.query(END_SESSION, [former.pid, former.start]);
    }
  }
}

async function lockRow(client: pg.Client, ctx: Context, direction: Direction): Promise<Progress> {
  const { rows } = await client.query<Row>({ name: 'lock_progress', text: LOCK, values: [direction] });
  const row = rows[0];
  const expected = slotOf(ctx.names, direction);
  if (row === undefined || row.slot !== expected)
    throw failure('SLOT_MISSING', {
      message: `no stored position of the ${direction} stream`,
      expected: `a position of slot ${expected}`,
      found: row === undefined ? 'none' : `one of slot ${row.slot}`,
    });
  return {
    slot: row.slot,
    systemIdentifier: row.system_identifier,
    timeline: row.timeline,
    lsn: parseLsn(row.lsn),
  };
}

/**
 * Begins a write transaction of the applier: the claim is held (I10), and the position is locked and still what this
 * session believes.
 * @throws OrchestrateError PROGRESS_MOVED.
 */
export async function beginAt(
  client: pg.Client,
  ctx: Context,
  direction: Direction,
  stored: Progress,
): Promise<void> {
  await client.query('BEGIN');
  await holdClaim(client, ctx.claim());
  const found = await lockRow(client, ctx, direction);
  if (found.lsn !== stored.lsn || found.systemIdentifier !== stored.systemIdentifier)
    throw moved(stored, found);
}

/** Runs `work` in a transaction that `beginAt` begins: no late batch can follow it. */
export async function exclusively<T>(
  client: pg.Client,
  ctx: Context,
  direction: Direction,
  stored: Progress,
  work: () => Promise<T>,
): Promise<T> {
  try {
    await beginAt(client, ctx, direction, stored);
    const result = await work();
    await commit(client);
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}

/** Moves the stored position inside the transaction that `beginAt` began. @throws OrchestrateError PROGRESS_MOVED. */
export async function storeProgress(
  client: pg.Client,
  direction: Direction,
  stored: Progress,
  lsn: Lsn,
): Promise<void> {
  const { rowCount } = await client.query({
    name: 'store_progress',
    text: STORE,
    values: [direction, formatLsn(lsn), formatLsn(stored.lsn), stored.slot, stored.systemIdentifier],
  });
  if (rowCount !== 1) throw moved(stored, undefined);
}

function moved(stored: Progress, found: Progress | undefined): Error {
  return failure('PROGRESS_MOVED', {
    expected: `${formatLsn(stored.lsn)} of system ${stored.systemIdentifier}`,
    found:
      found === undefined
        ? 'another position'
        : `${formatLsn(found.lsn)} of system ${found.systemIdentifier}`,
  });
}

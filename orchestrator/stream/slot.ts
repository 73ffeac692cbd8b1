import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { ident } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { connect } from '../pg/connect.ts';
import { type Lsn, parseLsn } from '../pg/lsn.ts';
import type { Side } from '../pg/side.ts';
import type { Claim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { forgetLost } from './slot-health.ts';

export { inspectSlot, type SlotInfo } from './slot-health.ts';

/** Which server this is, and how far its WAL is flushed. */
export interface Identity {
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly flushedLsn: Lsn;
}

/** A slot that was just made; its walsender session stays open and idle, because the snapshot lives as long. */
export interface OpenSlot {
  readonly name: string;
  /** A transaction is in the snapshot if and only if its commit record starts before this point (DESIGN 6). */
  readonly consistentPoint: Lsn;
  /** Name for `SET TRANSACTION SNAPSHOT`. */
  readonly snapshot: string;
  readonly systemIdentifier: string;
  readonly timeline: number;
  /** Ends the session: the snapshot is gone, and the slot too when it is temporary. May be called again. */
  release(): Promise<void>;
}

export interface SlotOptions {
  readonly name: string;
  readonly temporary: boolean;
  /** How long it may wait for each running transaction; only `lock_timeout` ends that wait (FIELD-NOTES A). */
  readonly lockTimeoutMs?: number;
  /** Called as soon as the point is known, before the wait that makes the snapshot safe to read. */
  readonly onConsistentPoint?: (lsn: Lsn) => void;
}

const LOCK_TIMEOUT_MS = 30_000;
const SAFE_SNAPSHOT_MS = 30_000;

/** The timeline comes from the WAL file's name: the control file shows a promotion only after its next checkpoint. */
const IDENTIFY = `
  SELECT system_identifier::text AS system_identifier,
         ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer AS timeline,
         pg_current_wal_flush_lsn()::text AS flushed
  FROM pg_control_system()`;

/** Reads which server `client` talks to. Works in any session of a primary. */
export async function identify(client: pg.ClientBase): Promise<Identity> {
  const { rows } = await client.query<{ system_identifier: string; timeline: number; flushed: string }>(
    IDENTIFY,
  );
  const row = rows[0];
  if (row === undefined) throw failure('INTERNAL', { message: 'the server did not say who it is' });
  return {
    systemIdentifier: row.system_identifier,
    timeline: row.timeline,
    flushedLsn: parseLsn(row.flushed),
  };
}

/**
 * Makes a logical slot and exports its snapshot. The walsender's session stays open until `release`.
 *
 * Before it returns, no transaction that the snapshot shows as finished is still running anywhere: reading earlier
 * could leave wrong hint bits on the source (FIELD-NOTES K5).
 * @throws OrchestrateError LOCK_TIMEOUT with the pids and prepared transactions in the way; RUN_EXISTS when a slot
 *   of that name exists; NOT_VISIBLE when the snapshot did not become safe in time.
 */
export async function createSlot(ctx: Context, side: Side, options: SlotOptions): Promise<OpenSlot> {
  const lockTimeoutMs = options.lockTimeoutMs ?? LOCK_TIMEOUT_MS;
  const walsender = await connect(ctx.endpoints[side], {
    purpose: 'slot',
    replication: true,
    settings: { lock_timeout: `${lockTimeoutMs}ms` },
  });
  let released: Promise<void> | undefined;
  const release = (): Promise<void> => (released ??= walsender.end());
  let created = false;
  try {
    const { rows: who } = await walsender.query<{ systemid: string; timeline: number }>('IDENTIFY_SYSTEM');
    const kind = options.temporary ? 'TEMPORARY LOGICAL' : 'LOGICAL';
    const { rows } = await walsender.query<{ consistent_point: string; snapshot_name: string }>(
      `CREATE_REPLICATION_SLOT ${ident(options.name)} ${kind} pgoutput (SNAPSHOT 'export')`,
    );
    created = true;
    const slot = rows[0];
    const identity = who[0];
    if (slot === undefined || identity === undefined)
      throw failure('INTERNAL', { message: 'the server answered CREATE_REPLICATION_SLOT without a row' });
    forgetLost(walsender, options.name);
    const consistentPoint = parseLsn(slot.consistent_point);
    options.onConsistentPoint?.(consistentPoint);
    await waitUntilSafe(ctx, side, slot.snapshot_name);
    return {
      name: options.name,
      consistentPoint,
      snapshot: slot.snapshot_name,
      systemIdentifier: identity.systemid,
      timeline: Number(identity.timeline),
      release,
    };
  } catch (error) {
    await release().catch(() => {});
    // A permanent slot without a stored position is of no use to anybody, and it would retain WAL.
    if (created && !options.temporary) await dropSlot(ctx, side, options.name).catch(() => {});
    throw await slotFailure(ctx, side, options.name, error);
  }
}

const BLOCKERS = `
  SELECT 'pid ' || pid AS blocker
  FROM pg_stat_activity
  WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
  UNION ALL
  SELECT 'prepared transaction ' || gid
  FROM pg_prepared_xacts`;

async function slotFailure(ctx: Context, side: Side, name: string, error: unknown): Promise<unknown> {
  const state = sqlState(error);
  if (state === '42710')
    return failure('RUN_EXISTS', {
      message: `${side} already has a replication slot of this migration`,
      expected: `no slot ${name}`,
      found: 'one',
      cause: error,
    });
  if (state !== '55P03') return error;
  const blockers = await blockersOn(ctx, side).catch(() => []);
  return failure('LOCK_TIMEOUT', {
    message: `the slot on ${side} waits for transactions that do not end`,
    expected: 'every open writing transaction ends in time',
    found: blockers.length > 0 ? blockers.join(', ') : 'they have ended meanwhile',
    cause: error,
  });
}

async function blockersOn(ctx: Context, side: Side): Promise<string[]> {
  const client = await connect(ctx.endpoints[side], { purpose: 'slot-blockers' });
  try {
    const { rows } = await client.query<{ blocker: string }>(BLOCKERS);
    return rows.map((r) => r.blocker);
  } finally {
    await client.end();
  }
}

const STILL_RUNNING = `
  SELECT count(*)::integer AS running
  FROM pg_snapshot_xip(pg_current_snapshot()) AS x(xid)
  WHERE pg_visible_in_snapshot(x.xid, $1::pg_snapshot)`;

/** Waits until nothing the snapshot shows as finished is shown as running by a new one. */
async function waitUntilSafe(ctx: Context, side: Side, snapshot: string): Promise<void> {
  const reader = await connect(ctx.endpoints[side], { purpose: 'snapshot' });
  try {
    await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await reader.query(`SET TRANSACTION SNAPSHOT '${snapshot.replaceAll("'", "''")}'`);
    const { rows } = await reader.query<{ s: string }>('SELECT pg_current_snapshot()::text AS s');
    await reader.query('COMMIT');
    const exported = wellFormed(rows[0]?.s ?? '');
    const deadline = Date.now() + SAFE_SNAPSHOT_MS;
    for (;;) {
      const { rows: now } = await reader.query<{ running: number }>(STILL_RUNNING, [exported]);
      if (now[0]?.running === 0) return;
      if (Date.now() > deadline)
        throw failure('NOT_VISIBLE', {
          message: `transactions on ${side} are decoded as committed but not yet visible to queries`,
          expected: 'none',
          found: `${now[0]?.running}`,
        });
      await delay(20, undefined, { signal: ctx.signal });
    }
  } finally {
    await reader.end();
  }
}

/**
 * A snapshot built by logical decoding can print with an xmin beyond its xmax, which pg_snapshot's input refuses.
 * Visibility asks xmin first: everything before it counts as finished, and nothing from there on.
 */
export function wellFormed(snapshot: string): string {
  const [xmin = '', xmax = '', running = ''] = snapshot.split(':');
  return BigInt(xmin) > BigInt(xmax) ? `${xmin}:${xmin}:` : `${xmin}:${xmax}:${running}`;
}

/** Slot names belong to the whole server: another database's slot of the same name is not ours. */
const TERMINATE_OWN = `
  SELECT pg_terminate_backend(s.active_pid)
  FROM pg_replication_slots AS s
  JOIN pg_stat_activity AS a ON a.pid = s.active_pid
  WHERE s.slot_name = $1 AND s.database = current_database() AND a.usename = current_user`;

/** The epoch row is held while the slot goes: a zombie that wakes after a takeover drops nothing (I10). */
const DROP_HELD = `
  WITH held AS MATERIALIZED (
    SELECT FROM orchestrator.side WHERE migration = $2 AND epoch = $3 AND generation = $4 FOR SHARE)
  SELECT pg_drop_replication_slot(s.slot_name)
  FROM held, pg_replication_slots AS s
  WHERE s.slot_name = $1 AND s.database = current_database()`;

const HELD = `
  SELECT FROM orchestrator.side WHERE migration = $1 AND epoch = $2 AND generation = $3`;

const DROP_SLOT = `
  SELECT pg_drop_replication_slot(slot_name)
  FROM pg_replication_slots
  WHERE slot_name = $1 AND database = current_database()`;

/**
 * Drops a slot, ending a walsender of ours that still holds it. A slot that is not there is no error.
 * @param claim when given, only while it holds on that side; otherwise nothing is dropped, without an error.
 * @throws OrchestrateError LOCK_TIMEOUT when somebody else's session holds it.
 */
export async function dropSlot(ctx: Context, side: Side, name: string, claim?: Claim): Promise<void> {
  const client = await connect(ctx.endpoints[side], { purpose: 'drop-slot' });
  const held = claim && [claim.migration, claim.epoch.toString(), claim.generation.toString()];
  try {
    const deadline = Date.now() + 10_000;
    for (;;) {
      if (held && (await client.query(HELD, held)).rowCount !== 1) return;
      await client.query(TERMINATE_OWN, [name]);
      try {
        await (held ? client.query(DROP_HELD, [name, ...held]) : client.query(DROP_SLOT, [name]));
        forgetLost(client, name);
        return;
      } catch (error) {
        if (sqlState(error) === '42704') return;
        if (sqlState(error) !== '55006') throw error;
        if (Date.now() > deadline)
          throw failure('LOCK_TIMEOUT', {
            message: `the slot ${name} on ${side} is in use`,
            expected: 'no session that reads it',
            found: 'a session that is not ours, or does not end',
            cause: error,
          });
      }
      await delay(50);
    }
  } finally {
    await client.end();
  }
}

import type pg from 'pg';
import { sqlState } from '../errors/sqlstate.ts';
import { fencedTables } from '../fence/fence.ts';
import { type Lsn, parseLsn } from '../pg/lsn.ts';
import { directionFrom, otherSide, type Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';

/**
 * A position no client of the standby can have written before: read in one statement with the claim's row locked and
 * the fence seen closed. Whoever opens the standby updates that row, so it waits for this statement or this one finds
 * another generation; a position read before the lock was granted is only lower.
 */
const READ = `
  WITH held AS MATERIALIZED (
    SELECT s.role
    FROM orchestrator.side AS s
    WHERE s.migration = $1 AND s.epoch = $2 AND s.generation = $3
    FOR SHARE
  )
  SELECT pg_current_wal_flush_lsn()::text AS lsn
  FROM held
  WHERE held.role = 'standby'
    AND NOT EXISTS (SELECT FROM orchestrator.fence($4) AS f WHERE f.state <> 'closed')`;

/** One statement, so one transaction: the claim's row is locked and the position only ever rises. */
const STORE = `
  WITH held AS MATERIALIZED (
    SELECT s.role
    FROM orchestrator.side AS s
    WHERE s.migration = $1 AND s.epoch = $2 AND s.generation = $3
    FOR SHARE
  )
  UPDATE orchestrator.progress AS p
  SET lsn = greatest(p.lsn, $4::pg_lsn), updated_at = clock_timestamp()
  FROM held
  WHERE held.role = 'serving' AND p.direction = $5 AND p.slot = $6
  RETURNING p.lsn::text`;

/** To the literal, never to a position evaluated in the call: one that lands late must not jump over a write. */
const ADVANCE = `
  SELECT (pg_replication_slot_advance(s.slot_name, $2::pg_lsn)).end_lsn::text AS lsn
  FROM pg_replication_slots AS s
  WHERE s.slot_name = $1 AND s.active_pid IS NULL AND s.confirmed_flush_lsn < $2::pg_lsn`;

/**
 * Keeps the standby's slot from retaining WAL (DESIGN 7, "Slots of the standby"; HISTORIES 13, 14): position read under
 * the fence, stored on the other side and committed there, then the slot advanced to exactly that literal. Nothing
 * ever relies on the advance; on 15 it is not durable. Three statements, no transaction left open between them.
 *
 * The handover ends its caller before it reads the position at which the standby is opened.
 * @returns where the slot now is; null when nothing was due or allowed.
 */
export async function advanceStandbySlot(
  ctx: Context,
  standby: Side,
  clients: Readonly<Record<Side, pg.ClientBase>>,
): Promise<Lsn | null> {
  const { migration, epoch, generation } = ctx.claim();
  const claim = [migration, epoch.toString(), generation.toString()];
  const slot = ctx.names.slot[standby];
  const read = await clients[standby].query<{ lsn: string }>(READ, [...claim, fencedTables(ctx, standby)]);
  const literal = read.rows[0]?.lsn;
  if (literal === undefined) return null;
  const stored = await clients[otherSide(standby)].query<{ lsn: string }>(STORE, [
    ...claim,
    literal,
    directionFrom(standby),
    slot,
  ]);
  if (stored.rowCount !== 1) return null;
  try {
    const { rows } = await clients[standby].query<{ lsn: string }>(ADVANCE, [slot, literal]);
    const reached = rows[0]?.lsn;
    return reached === undefined ? null : parseLsn(reached);
  } catch (error) {
    // 55006: somebody reads it just now; 55000: it is past that point already. Both are as good.
    if (sqlState(error) === '55006' || sqlState(error) === '55000') return null;
    throw error;
  }
}

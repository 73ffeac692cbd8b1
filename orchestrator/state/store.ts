import type { ClientBase } from 'pg';
import { failure } from '../errors/failure.ts';
import type { Role, Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { type Claim, holdClaim } from './claim.ts';
import { appendJournal } from './journal.ts';
import { mayMove, type State } from './state.ts';

/** One side's own row: the only truth about who serves. */
export interface SideRow {
  readonly side: Side;
  readonly epoch: bigint;
  readonly generation: bigint;
  readonly role: Role;
  readonly position: string | null;
}

/** A decision taken on a side while it served. */
export interface DecisionRow {
  readonly generation: bigint;
  readonly attempt: string;
  readonly kind: 'cutover' | 'revert';
  readonly toSide: Side;
  readonly position: string;
  readonly decidedAt: string;
}

/** @returns whether the control schema is on this server. */
export async function hasControl(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>(
    `SELECT to_regclass('orchestrator.side') IS NOT NULL AS found`,
  );
  return rows[0]?.found === true;
}

/**
 * @returns the side's row, or null where there is none.
 * @throws OrchestrateError OTHER_MIGRATION when the control schema is another migration's.
 */
export async function readSide(client: ClientBase, migration: string): Promise<SideRow | null> {
  if (!(await hasControl(client))) return null;
  const { rows } = await client.query<{
    migration: string;
    side: Side;
    epoch: string;
    generation: string;
    role: Role;
    position: string | null;
  }>('SELECT migration, side, epoch, generation, role, position::text FROM orchestrator.side');
  const row = rows.find((r) => r.migration === migration);
  if (row === undefined) {
    if (rows[0]) throw failure('OTHER_MIGRATION', { expected: migration, found: rows[0].migration });
    return null;
  }
  return { ...row, epoch: BigInt(row.epoch), generation: BigInt(row.generation) };
}

/** @returns the newest decision taken on this server, or null. */
export async function readDecision(client: ClientBase): Promise<DecisionRow | null> {
  const { rows } = await client.query<Omit<DecisionRow, 'generation'> & { generation: string }>(`
    SELECT generation, attempt::text, kind, to_side AS "toSide", position::text, decided_at::text AS "decidedAt"
    FROM orchestrator.decision
    ORDER BY generation DESC
    LIMIT 1`);
  const row = rows[0];
  return row ? { ...row, generation: BigInt(row.generation) } : null;
}

/** @returns the state on green and since when; `created` where no run has been recorded. */
export async function readState(
  client: ClientBase,
  migration: string,
): Promise<{ state: State; since: string | null; stopped: unknown; paused: boolean }> {
  const { rows } = await client.query<{ state: State; since: string; stopped: unknown; paused: boolean }>(
    `SELECT state, to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS since, stopped, paused
     FROM orchestrator.run WHERE migration = $1`,
    [migration],
  );
  return rows[0] ?? { state: { phase: 'created' }, since: null, stopped: null, paused: false };
}

/**
 * The one function that changes the state: checks the move, writes state and journal in one transaction on green.
 * `alongside` may write more evidence into the same transaction.
 * @throws OrchestrateError STALE_EPOCH when a newer runner has taken over; WRONG_PHASE when the move is not legal.
 */
export async function changeState(
  green: ClientBase,
  claim: Claim,
  to: State,
  evidence: Readonly<Record<string, unknown>> = {},
  alongside: () => Promise<void> = async () => {},
): Promise<void> {
  await transaction(green, async () => {
    await holdClaim(green, claim);
    const { state: from } = await readState(green, claim.migration);
    if (!mayMove(from.phase, to.phase))
      throw failure('WRONG_PHASE', { expected: `a move that is legal from ${from.phase}`, found: to.phase });
    await green.query(
      `INSERT INTO orchestrator.run (migration, phase, state)
       VALUES ($1, $2, $3::jsonb)
       ON CONFLICT (migration) DO UPDATE
       SET phase = excluded.phase, state = excluded.state,
           since = CASE WHEN run.phase = excluded.phase THEN run.since ELSE clock_timestamp() END`,
      [claim.migration, to.phase, JSON.stringify(to)],
    );
    await appendJournal(green, claim, 'state', { from: from.phase, to: to.phase, ...evidence });
    await alongside();
  });
}

/** Records that the clients are where writes go; the phase stays. */
export async function setMoved(green: ClientBase, claim: Claim, attempt: string): Promise<void> {
  await transaction(green, async () => {
    await holdClaim(green, claim);
    await green.query(`UPDATE orchestrator.run SET state = state - 'unmoved' WHERE migration = $1`, [
      claim.migration,
    ]);
    await appendJournal(green, claim, 'traffic', { moved: true, attempt });
  });
}

/** Records that the operator wants copy and sweeps to rest, or to go on; the state stays. */
export async function setPaused(green: ClientBase, claim: Claim, paused: boolean): Promise<void> {
  await transaction(green, async () => {
    await holdClaim(green, claim);
    await green.query('UPDATE orchestrator.run SET paused = $2 WHERE migration = $1', [
      claim.migration,
      paused,
    ]);
  });
}

/** Records why the runner stopped, or clears it; the state stays. */
export async function setStopped(green: ClientBase, claim: Claim, document: unknown): Promise<void> {
  await transaction(green, async () => {
    await holdClaim(green, claim);
    await green.query('UPDATE orchestrator.run SET stopped = $2::jsonb WHERE migration = $1', [
      claim.migration,
      document === null ? null : JSON.stringify(document),
    ]);
  });
}

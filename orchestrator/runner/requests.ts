import type { ClientBase } from 'pg';
import { ident } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import type { Side } from '../pg/side.ts';
import type { Claim } from '../state/claim.ts';
import type { HandoverDocument } from '../state/documents.ts';
import { actor } from '../state/journal.ts';
import type { Request } from '../state/request.ts';

/** A request as it stands in the table. */
export type ClaimedRequest = Request & {
  readonly id: string;
  /** Who asked: user and host of the operating system, and of the database; absent where nobody did. */
  readonly by?: Readonly<Record<string, unknown>>;
};

/** What a carried-out request leaves: the exit code and the JSON document of its command. */
export interface Outcome {
  readonly exit: number;
  readonly document: object;
}

/** The channel on green that wakes runner and followers. */
export const CHANNEL = 'orchestrate';

/**
 * Writes a request; `claimed` when it is for a runner in this very process. It is void after `timeoutMs` unless a runner of a later epoch has cancelled it before.
 */
export async function writeRequest(
  green: ClientBase,
  migration: string,
  request: Request,
  timeoutMs: number,
  status: 'pending' | 'claimed',
): Promise<string> {
  const { rows } = await green.query<{ id: string | null }>(
    `SELECT orchestrator.${ident(`request_${request.command}`)}($1, $2::jsonb, $3::jsonb, $4, $5) AS id`,
    [migration, JSON.stringify(request.options), JSON.stringify(actor()), timeoutMs / 1000, status],
  );
  await green.query(`SELECT pg_notify('${CHANNEL}', 'request')`);
  return rows[0]?.id ?? '';
}

/**
 * Claims the oldest request that is still wanted and was written since this runner took the lease: a request never
 * outlives the runner it was written for (HISTORIES 23).
 */
export async function claimRequest(
  green: ClientBase,
  migration: string,
  sinceEpoch: bigint,
  epoch: bigint,
): Promise<ClaimedRequest | null> {
  const { rows } = await green.query<ClaimedRequest>(
    `UPDATE orchestrator.request AS r SET status = 'claimed'
     WHERE r.id = (
       SELECT w.id FROM orchestrator.request AS w
       WHERE w.migration = $1 AND w.status = 'pending' AND w.epoch >= $2 AND w.expires_at > clock_timestamp() AND NOT w.cancel
         -- A zombie's inbox takes nothing of the runner that came after it.
         AND EXISTS (SELECT FROM orchestrator.side AS s WHERE s.migration = $1 AND s.epoch = $3)
       ORDER BY w.id
       LIMIT 1
       FOR UPDATE SKIP LOCKED)
     RETURNING r.id::text, r.command, r.options, r.by`,
    [migration, sinceEpoch.toString(), epoch.toString()],
  );
  return rows[0] ?? null;
}

/** Stores what became of a request, and tells who follows it. */
export async function finishRequest(green: ClientBase, id: string, outcome: Outcome): Promise<void> {
  await green.query(`UPDATE orchestrator.request SET status = 'done', result = $2::jsonb WHERE id = $1`, [
    id,
    JSON.stringify(outcome),
  ]);
  await green.query(`SELECT pg_notify('${CHANNEL}', 'done')`);
}

/**
 * Tells a follower the outcome of a request whose table is about to go (finalize, abort). A notification carries at
 * most 8,000 bytes; these documents hold names and counts only.
 */
export async function announceOutcome(green: ClientBase, id: string, outcome: Outcome): Promise<void> {
  await green.query('SELECT pg_notify($1, $2)', [CHANNEL, JSON.stringify({ request: id, ...outcome })]);
}

/** @returns whether the operator wants the request stopped. */
export async function isCancelled(green: ClientBase, id: string): Promise<boolean> {
  const { rows } = await green.query<{ cancel: boolean }>(
    'SELECT cancel FROM orchestrator.request WHERE id = $1',
    [id],
  );
  return rows[0]?.cancel === true;
}

/**
 * Cancels what earlier runners left undecided (HISTORIES 23): a request that was claimed at eleven is not carried
 * out by a runner that comes back at three.
 */
export async function cancelStale(green: ClientBase, claim: Claim): Promise<void> {
  await green.query(
    `UPDATE orchestrator.request
     SET status = 'cancelled'
     WHERE migration = $1 AND status IN ('pending', 'claimed') AND epoch < $2`,
    [claim.migration, claim.epoch.toString()],
  );
}

/**
 * Answers the request of a handover that was decided by a runner that died, and finished by this one: its follower
 * learns which side serves, and never that it was cancelled.
 */
export async function finishDecided(
  green: ClientBase,
  claim: Claim,
  kind: 'cutover' | 'revert',
  serving: Side,
): Promise<void> {
  const error = failure('HANDOVER_UNFINISHED', {
    message: `the runner died after the decision; another one has opened ${serving}`,
    expected: 'one runner from the gates to the certificate',
    found: 'a second one',
    serving,
  });
  const document: HandoverDocument = {
    outcome: 'unfinished',
    kind,
    serving,
    freeze_seconds: null,
    budget_seconds: 0,
    steps: [],
    certificate: null,
    next_steps: ['orchestrate run', 'orchestrate status'],
    error: error.toDocument(serving),
  };
  const outcome: Outcome = { exit: 6, document };
  await green.query(
    `UPDATE orchestrator.request
     SET status = 'done', result = $4::jsonb
     WHERE migration = $1 AND status = 'claimed' AND epoch < $2 AND command = $3`,
    [claim.migration, claim.epoch.toString(), kind, JSON.stringify(outcome)],
  );
}

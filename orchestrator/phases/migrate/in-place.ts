import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { BatchFailed } from '../../../migrations/in-place/batch-failed.ts';
import { catchUp, moveInPlace } from '../../../migrations/in-place/move.ts';
import { statementsOf } from '../../../migrations/in-place/statements.ts';
import { type MigrateTarget, migrateUp, revision } from '../../../migrations/migrator.ts';
import type { RunQuery } from '../../../migrations/session.ts';
import { ident } from '../../../src/mapping/identifier.ts';
import { failpoint } from '../../errors/failpoint.ts';
import { sqlState } from '../../errors/sqlstate.ts';
import { withTableLock } from '../table-lock.ts';
import { Pace } from './pace.ts';

export interface InPlaceOptions {
  readonly batchSize: number;
  readonly pauseMs: number;
  /** One line for the person who watches. */
  readonly note: (line: string) => void;
}

const NAME = '057-migrate-user-settings';

/** Held by one session for as long as an in-place migration is at work, from its first batch to its last pass. */
const AT_WORK = '5604158057105602';
const TAKE_TURN = `SELECT pg_try_advisory_lock(${AT_WORK}) AS taken`;
const WAIT_TURN = `SELECT pg_advisory_lock(${AT_WORK})`;

/** How long all tries for the lock of the last pass may take together. */
const LOCK_WAIT_MS = 60_000;

/** Waits for its turn: two runs in one database come one after the other, and the second finds the work done. */
export async function takeTurn(query: RunQuery, note: (line: string) => void): Promise<void> {
  const [turn] = await query<{ taken: boolean }>(TAKE_TURN, []);
  if (turn?.taken === true) return;
  note('another migrate is at work in this database: waiting for it to end');
  await query(WAIT_TURN, []);
}

/**
 * `migrate up` where user_settings lies beside the org model (the guide's options 1 and 2): the tables in one
 * transaction; then the rows in batches, each a transaction of its own, and what is written meanwhile; then a last
 * pass with writers locked out, which commits together with the record of 057. A process that dies leaves finished
 * batches, and `up` goes on from there.
 * @param client the session that has taken its turn; it does the batches, so whoever comes next waits for its end.
 * @returns the names that were applied now.
 */
export async function upInPlace(
  client: pg.Client,
  query: RunQuery,
  target: MigrateTarget,
  to: string | undefined,
  options: InPlaceOptions,
): Promise<string[]> {
  const through = to === undefined || revision(to) >= NAME;
  const applied = await migrateUp(target, through ? '056' : to);
  const sql = statementsOf(target.schemas);
  const [recorded] = await query<{ done: boolean }>(
    `SELECT EXISTS (SELECT FROM ${ident(target.schemas.org)}."orchestrate_migrations" WHERE name = $1) AS done`,
    [NAME],
  );
  if (!through || recorded?.done === true) return applied;

  await query(`SET ROLE ${ident(target.owner)}`, []);
  const pace = new Pace(options.note);
  const move = {
    batchSize: options.batchSize,
    beforeBatch: () => failpoint('batch.before'),
    afterBatch: async (batch: { batch: number; rowsRead: number; rowsExpected: number }) => {
      await failpoint('batch.after');
      pace.passed(batch);
      if (options.pauseMs > 0) await delay(options.pauseMs);
    },
  };
  await moveInPlace(query, target.schemas, move);
  await failpoint('reconcile.before');
  try {
    applied.push(
      ...(await withTableLock(client, [sql.source], 'the last pass of 057', LOCK_WAIT_MS, (lockTimeoutMs) =>
        migrateUp({ ...target, lockTimeoutMs }, NAME),
      )),
    );
  } catch (error) {
    // Rows that the last pass cannot take are met again one by one, so that they can be named.
    if (/^(21|22|23|44|P0)/.test(sqlState(error) ?? '') && !(error instanceof BatchFailed))
      await catchUp(query, target.schemas, move);
    throw error;
  }
  await failpoint('reconcile.after');
  for (const analyze of sql.analyze) await query(analyze, []);
  await query(sql.measure, []);
  return applied;
}

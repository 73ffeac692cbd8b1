import type { ClientBase } from 'pg';
import { sqlState } from '../../errors/sqlstate.ts';
import { transaction } from '../../pg/transaction.ts';
import { lockBlockers } from './blockers.ts';

const DEADLOCK_TIMEOUT = `SELECT setting::integer AS ms FROM pg_settings WHERE name = 'deadlock_timeout'`;

/** @returns how long a lock is waited for until an autovacuum has yielded it: only the deadlock check makes it. */
export async function vacuumWaitMs(client: ClientBase): Promise<number> {
  const { rows } = await client.query<{ ms: number }>(DEADLOCK_TIMEOUT);
  return (rows[0]?.ms ?? 1_000) + 200;
}

/**
 * Makes autovacuums let go of the tables before anybody is kept waiting by them (HISTORIES 20). The lock asked for
 * conflicts with theirs, and with no writer's, so neither clients nor the applier notice; it is given back at once. One
 * that does not yield is left alone: the steps wait for it too.
 * @param client a session outside any transaction.
 */
export async function yieldVacuums(client: ClientBase, tables: readonly string[]): Promise<void> {
  const waitMs = await vacuumWaitMs(client);
  for (const table of tables) {
    if (!(await lockBlockers(client, [table])).some((b) => b.kind === 'autovacuum worker')) continue;
    try {
      await transaction(client, async () => {
        await client.query(`SET LOCAL lock_timeout = '${waitMs}ms'`);
        await client.query(`LOCK TABLE ${table} IN SHARE UPDATE EXCLUSIVE MODE`);
      });
    } catch (error) {
      if (sqlState(error) !== '55P03') throw error;
    }
  }
}

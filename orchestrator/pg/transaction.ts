import type { ClientBase } from 'pg';
import { failure } from '../errors/failure.ts';

/**
 * Runs `work` in one transaction. A COMMIT that the server turned into a rollback is an error (FIELD-NOTES G): it
 * resolves like a success and would otherwise pass for one.
 */
export async function transaction<T>(
  client: ClientBase,
  work: () => Promise<T>,
  begin = 'BEGIN',
): Promise<T> {
  await client.query(begin);
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
  await commit(client);
  return result;
}

/** COMMIT that is an error unless the server committed. */
export async function commit(client: ClientBase): Promise<void> {
  const { command } = await client.query('COMMIT');
  if (command !== 'COMMIT') throw failure('COMMIT_REFUSED', { expected: 'COMMIT', found: command });
}

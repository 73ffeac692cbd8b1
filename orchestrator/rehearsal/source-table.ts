import { CREATE_USER_SETTINGS } from './source-columns.ts';

/** Anything that runs SQL: a client or a pool of the driver. */
interface Runs {
  query(sql: string): Promise<unknown>;
}

/**
 * Creates an empty `user_settings` of schema revision 055, with its index.
 *
 * @param owner a session of the role that owns the application's tables, `public` first in its search path
 */
export async function createSourceTable(owner: Runs): Promise<void> {
  await owner.query(CREATE_USER_SETTINGS);
}

/** Differences that a comparison has to find. */
import type { Pair } from './databases.ts';
import { withClient } from './sql.ts';

/** Writes on the standby, past its fence, triggers and foreign keys. */
export async function plantOn(pair: Pair, side: 'blue' | 'green', sql: string): Promise<void> {
  await withClient(pair[side].urls.superuser, async (client) => {
    await client.query('SET session_replication_role = replica');
    await client.query(`SET SESSION AUTHORIZATION "${pair[side].roles.sync}"`);
    await client.query(sql);
  });
}

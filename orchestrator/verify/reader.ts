import type pg from 'pg';
import { literal } from '../../src/mapping/identifier.ts';
import { connect } from '../pg/connect.ts';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';

/** From 17 on a server may end long transactions; a picture lives as long as the sweep. */
const NO_TRANSACTION_TIMEOUT = `
  SELECT set_config(name, '0', false)
  FROM pg_settings
  WHERE name = 'transaction_timeout'`;

/** Opens a session for reading frozen pictures: it uses one core, however large the table. */
export async function openReader(ctx: Context, side: Side): Promise<pg.Client> {
  const client = await connect(ctx.endpoints[side], {
    purpose: 'sweep',
    settings: { jit: 'off', max_parallel_workers_per_gather: '0' },
  });
  await client.query(NO_TRANSACTION_TIMEOUT);
  return client;
}

/**
 * Begins the transaction in which a session reads, as of `snapshot` or of now.
 * @returns the name under which others may read the same picture while this transaction is open.
 */
export async function freezePicture(client: pg.Client, snapshot?: string): Promise<string> {
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  if (snapshot !== undefined) await client.query(`SET TRANSACTION SNAPSHOT ${literal(snapshot)}`);
  const { rows } = await client.query<{ name: string }>('SELECT pg_export_snapshot() AS name');
  return rows[0]?.name ?? '';
}

/** Ends sessions, whatever state they are in. */
export async function endAll(clients: readonly pg.Client[]): Promise<void> {
  await Promise.allSettled(clients.map((client) => client.end()));
}

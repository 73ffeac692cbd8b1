import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { type Database, openTextSession } from './connection.ts';
import { INSERT_BENCH_ROWS } from './generator/bench-rows.ts';
import { COPY_USER_SETTINGS, copyLine } from './generator/copy-line.ts';
import { createRandom } from './generator/random.ts';
import { createKeys, makeRow } from './generator/row.ts';
import type { SourceRow } from './source-columns.ts';

export interface UsersRequest {
  /** How many rows. */
  readonly users: number;
  /** The same seed gives the same rows, byte for byte. */
  readonly seed: number | string;
  /** `real` (default): the shares of a real table. `bench`: plain rows of about 470 bytes, made by the server. */
  readonly profile?: 'real' | 'bench';
  /** The first id; default 1. */
  readonly firstId?: number;
  /** The schema of `user_settings`; default `public`. */
  readonly schema?: string;
}

export interface LoadedUsers {
  readonly rows: number;
  readonly lastId: number;
  readonly seconds: number;
}

/** Makes `users` real-looking rows in id order; ids have a few gaps, as deletes by hand leave them. */
export function* makeUsers(request: UsersRequest): Generator<SourceRow> {
  const random = createRandom(request.seed);
  const key = createKeys(random);
  let id = (request.firstId ?? 1) - 1;
  for (let n = 0; n < request.users; n += 1) {
    id += random.chance(0.02) ? random.between(2, 5) : 1;
    yield makeRow(random, id, key());
  }
}

function* copyBlocks(rows: Iterable<SourceRow>): Generator<string> {
  let block = '';
  for (const row of rows) {
    block += copyLine(row);
    if (block.length >= 65_536) {
      yield block;
      block = '';
    }
  }
  if (block !== '') yield block;
}

/**
 * Streams rows into `user_settings` through COPY, whatever their number, in one transaction.
 * @returns how many rows the server counted.
 */
export async function copyRows(client: pg.Client, rows: Iterable<SourceRow>): Promise<number> {
  const target = client.query(copyFrom(COPY_USER_SETTINGS));
  await pipeline(Readable.from(copyBlocks(rows)), target);
  return target.rowCount ?? 0;
}

/** New ids go on above the highest one, and the planner knows the table. */
const CONTINUE_IDENTITY = `
  SELECT setval(pg_get_serial_sequence('user_settings', 'id'), max(id)) FROM user_settings HAVING max(id) > 0`;

const HIGHEST_ID = 'SELECT coalesce(max(id), 0)::text AS id FROM user_settings';

/** Sets the identity above the highest id and refreshes the planner's statistics, once rows came with explicit ids. */
export async function settleTable(client: pg.Client): Promise<void> {
  await client.query(CONTINUE_IDENTITY);
  await client.query('ANALYZE user_settings');
}

/**
 * Fills `user_settings` with users, sets the identity above the highest id and analyses the table.
 *
 * @param target a URL, the driver's configuration, or an open client (which finds the table by its search_path).
 */
export async function loadUsers(target: pg.Client | Database, request: UsersRequest): Promise<LoadedUsers> {
  const began = performance.now();
  return await withTextSession(target, 'generator', request.schema ?? 'public', async (client) => {
    let rows: number;
    if (request.profile === 'bench') {
      const first = request.firstId ?? 1;
      const inserted = await client.query(INSERT_BENCH_ROWS, [
        String(first),
        String(first + request.users - 1),
        String(request.seed),
      ]);
      rows = inserted.rowCount ?? 0;
    } else {
      rows = await copyRows(client, makeUsers(request));
    }
    await settleTable(client);
    const highest = await client.query<{ id: string }>(HIGHEST_ID);
    return {
      rows,
      lastId: Number(highest.rows[0]?.id ?? 0),
      seconds: (performance.now() - began) / 1_000,
    };
  });
}

/** Runs `work` on the given client, or on a session of its own that ends with it. */
export async function withTextSession<T>(
  target: pg.Client | Database,
  purpose: string,
  schema: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  if (target instanceof pg.Client) return await work(target);
  const client = await openTextSession(target, purpose, schema);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

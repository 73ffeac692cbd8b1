import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { sqlState } from '../errors/sqlstate.ts';
import { connect } from '../pg/connect.ts';
import type { Context } from '../state/context.ts';
import type { Snapshot } from './chunks.ts';

/** The exported snapshot ended with its exporter (blue restarted, the walsender was terminated). */
export class SnapshotGone extends Error {
  override readonly name = 'SnapshotGone';
}

/** `transaction_timeout` exists from 17 on; a copy's transaction is as long as its table is large. */
const NO_TRANSACTION_TIMEOUT = `
  SELECT set_config('transaction_timeout', '0', false)
  WHERE current_setting('server_version_num')::integer >= 170000`;

/**
 * A worker's machine may vanish without a word. Its server sessions then hold a chunk, which nobody else can take, until
 * the server notices: within half a minute instead of two hours.
 */
const NOTICE_A_DEAD_PEER = {
  tcp_keepalives_idle: '10',
  tcp_keepalives_interval: '5',
  tcp_keepalives_count: '4',
} as const;

/**
 * Opens a session on blue that sees the exported snapshot, or one of its own, and cannot write.
 *
 * A range is read through the primary key even where the planner would rather scan the whole table: there are many
 * ranges, and production's cache is not ours. No parallel workers either: `--copy-workers` says how much we may take.
 * @throws SnapshotGone when the snapshot cannot be imported any more.
 */
export async function openReader(ctx: Context, snapshot?: Snapshot): Promise<pg.Client> {
  const client = await connect(ctx.endpoints.blue, {
    purpose: 'copy',
    settings: {
      enable_seqscan: 'off',
      max_parallel_workers_per_gather: '0',
      jit: 'off',
      ...NOTICE_A_DEAD_PEER,
    },
  });
  try {
    await client.query(NO_TRANSACTION_TIMEOUT);
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    if (snapshot !== undefined) await importSnapshot(client, snapshot);
    return client;
  } catch (error) {
    await discard(client);
    throw error;
  }
}

/** Makes the open transaction see the exported snapshot. @throws SnapshotGone. */
async function importSnapshot(client: pg.Client, snapshot: Snapshot): Promise<void> {
  try {
    await client.query(`SET TRANSACTION SNAPSHOT '${snapshot.name.replaceAll("'", "''")}'`);
  } catch (error) {
    // 22023 and 42704: no such snapshot; 55000: its exporter is no longer running.
    if (['22023', '42704', '55000'].includes(sqlState(error) ?? ''))
      throw new SnapshotGone('the exported snapshot is gone', { cause: error });
    throw error;
  }
}

/**
 * A chunk's rows, its done mark and its journal entry are one transaction: a green that crashes loses all of them or none,
 * and the chunk is copied again. So a worker does not wait for the disk after each chunk. Nothing is acknowledged to blue by
 * it, and the change of phase that follows the last chunk is flushed, and with it everything before it (I3, I12).
 */
const NO_WAIT_FOR_DISK = { synchronous_commit: 'off' } as const;

/** Opens a session on green that writes chunks. */
export function openChunkWriter(ctx: Context): Promise<pg.Client> {
  return openWriter(ctx, NO_WAIT_FOR_DISK);
}

/** Opens a session on green for the plan of the copy and its progress. */
export async function openWriter(
  ctx: Context,
  settings: Readonly<Record<string, string>> = {},
): Promise<pg.Client> {
  const client = await connect(ctx.endpoints.green, {
    purpose: 'copy',
    settings: { jit: 'off', ...NOTICE_A_DEAD_PEER, ...settings },
  });
  try {
    await client.query(NO_TRANSACTION_TIMEOUT);
    return client;
  } catch (error) {
    await discard(client);
    throw error;
  }
}

/**
 * Ends a session whatever state it is in: one that is stuck in a COPY has its socket closed, which frees its backend,
 * its locks and its snapshot (FIELD-NOTES F). Never waits long for a server that does not answer.
 */
export async function discard(client: pg.Client | undefined): Promise<void> {
  if (client === undefined) return;
  await Promise.race([client.end().catch(() => {}), delay(1_000, undefined, { ref: false })]);
}

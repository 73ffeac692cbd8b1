import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { failure, type OrchestrateError } from '../errors/failure.ts';
import { formatLsn } from '../pg/lsn.ts';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import type { Progress } from './progress.ts';
import { checkPublication } from './publication.ts';
import { type Identity, identify, inspectSlot, type SlotInfo } from './slot.ts';

/**
 * Decides whether a stored position may be continued from this slot of this server (I13). Purely from facts.
 * PostgreSQL itself skips in silence when it is asked for less than the slot has confirmed (FIELD-NOTES K3).
 * @returns the error that forbids it, or undefined.
 */
export function judgeSource(
  stored: Progress,
  identity: Identity,
  slot: SlotInfo | null,
  database: string,
): OrchestrateError | undefined {
  const positions =
    `stored ${formatLsn(stored.lsn)}, ` +
    `confirmed ${slot === null ? 'nothing' : formatLsn(slot.confirmedFlushLsn)}, ` +
    `server at ${formatLsn(identity.flushedLsn)}`;
  if (identity.systemIdentifier !== stored.systemIdentifier || identity.timeline !== stored.timeline)
    return failure('IDENTITY_CHANGED', {
      expected: `system ${stored.systemIdentifier} on timeline ${stored.timeline}`,
      found: `system ${identity.systemIdentifier} on timeline ${identity.timeline}; ${positions}`,
    });
  if (slot === null || slot.plugin !== 'pgoutput' || slot.database !== database)
    return failure('SLOT_MISSING', {
      expected: `slot ${stored.slot} with pgoutput in database ${database}`,
      found:
        slot === null
          ? `none; ${positions}`
          : `one with ${slot.plugin} in database ${slot.database}; ${positions}`,
    });
  if (slot.lost)
    return failure('SLOT_LOST', { expected: `the WAL from ${formatLsn(stored.lsn)} on`, found: positions });
  if (slot.confirmedFlushLsn > stored.lsn)
    return failure('SLOT_AHEAD', {
      expected: 'a slot that confirmed no more than is stored',
      found: positions,
    });
  if (stored.lsn > identity.flushedLsn)
    return failure('STORED_AHEAD', {
      expected: 'a server that has written what is stored as applied',
      found: positions,
    });
  return undefined;
}

const END_WALSENDER = `
  SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
  WHERE pid = $1 AND usename = current_user`;

const FREE_SLOT_MS = 10_000;

/**
 * Checks the source before every connection of the stream, and ends a walsender of an earlier one. Whoever holds the
 * claim owns the slot, so a session of ours that still reads it is a leftover.
 * @throws OrchestrateError of `judgeSource`, PUBLICATION_CHANGED, or STREAM_BROKEN when the slot stays in use.
 */
export async function checkSource(
  client: pg.Client,
  ctx: Context,
  side: Side,
  stored: Progress,
): Promise<void> {
  const database = ctx.endpoints[side].database;
  const deadline = Date.now() + FREE_SLOT_MS;
  for (;;) {
    const slot = await inspectSlot(client, stored.slot);
    const error = judgeSource(stored, await identify(client), slot, database);
    if (error !== undefined) throw error;
    if (!slot?.active) break;
    if (Date.now() > deadline)
      throw failure('STREAM_BROKEN', {
        message: `slot ${stored.slot} is in use`,
        expected: 'no other reader',
        found: `pid ${slot.activePid}`,
      });
    await client.query(END_WALSENDER, [slot.activePid]);
    await delay(20, undefined, { signal: ctx.signal });
  }
  await checkPublication(client, ctx, side);
}

/** @returns wal_sender_timeout in milliseconds; 0 is none. */
export async function senderTimeout(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ ms: number }>(
    `SELECT setting::integer AS ms FROM pg_settings WHERE name = 'wal_sender_timeout'`,
  );
  return rows[0]?.ms ?? 0;
}

import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { ident } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';

/** A transaction of its own; durable when it returns, because it writes WAL and our sessions commit synchronously. */
const EMIT = `
  WITH held AS MATERIALIZED (
    SELECT s.role
    FROM orchestrator.side AS s
    WHERE s.migration = $1 AND s.epoch = $2 AND s.generation = $3
    FOR SHARE
  )
  SELECT pg_logical_emit_message(true, $4, $5)::text AS lsn
  FROM held`;

/** Peeking decodes what the slot has not confirmed, with its real plugin and publication, and moves nothing. */
const PEEK = `
  SELECT EXISTS (
    SELECT
    FROM pg_logical_slot_peek_binary_changes(
      $1, NULL, NULL,
      'proto_version', '1', 'publication_names', $2, 'messages', 'true') AS c
    WHERE position(convert_to($3, 'UTF8') IN c.data) > 0) AS found`;

/**
 * The canary: a transactional logical message written on the standby comes back through the standby's own slot. It
 * proves that the server decodes its WAL for the stream that will leave it; the slot keeps its place, so there is no
 * consumer that could acknowledge somebody's first write away (HISTORIES 3).
 * @param deadlineMs how long it may take.
 * @returns seconds from the commit until it was found.
 * @throws OrchestrateError TIMED_OUT, STALE_EPOCH, SLOT_MISSING.
 */
export async function canaryRoundTrip(
  ctx: Context,
  standby: Side,
  clients: Readonly<Record<Side, pg.ClientBase>>,
  deadlineMs: number,
): Promise<number> {
  const client = clients[standby];
  const { migration, epoch, generation } = ctx.claim();
  const content = randomUUID();
  const start = performance.now();
  const emitted = await client.query(EMIT, [
    migration,
    epoch.toString(),
    generation.toString(),
    `${ctx.names.messagePrefix}:canary`,
    content,
  ]);
  if (emitted.rowCount !== 1)
    throw failure('STALE_EPOCH', {
      expected: `epoch ${epoch}, generation ${generation} on ${standby}`,
      found: 'another epoch or generation',
    });
  for (;;) {
    if (await peek(client, ctx, standby, content)) return (performance.now() - start) / 1000;
    if (performance.now() - start > deadlineMs)
      throw failure('TIMED_OUT', {
        message: `the canary on ${standby} did not come back through its slot`,
        expected: `within ${deadlineMs} ms`,
        found: 'not yet',
      });
    await delay(50, undefined, { signal: ctx.signal });
  }
}

/** @returns whether the message was seen; false also while the slot is in use, e.g. by the advance of retention. */
async function peek(client: pg.ClientBase, ctx: Context, standby: Side, content: string): Promise<boolean> {
  try {
    const { rows } = await client.query<{ found: boolean }>(PEEK, [
      ctx.names.slot[standby],
      ident(ctx.names.publication[standby]),
      content,
    ]);
    return rows[0]?.found === true;
  } catch (error) {
    if (sqlState(error) === '55006') return false;
    if (sqlState(error) === '42704')
      throw failure('SLOT_MISSING', {
        expected: `slot ${ctx.names.slot[standby]} on ${standby}`,
        found: 'none',
      });
    throw error;
  }
}

import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import { failure, OrchestrateError } from '../errors/failure.ts';
import { isTransient } from '../errors/sqlstate.ts';
import { connect } from '../pg/connect.ts';
import { formatLsn, type Lsn, parseLsn } from '../pg/lsn.ts';
import { directionFrom, otherSide, type Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { readSide } from '../state/store.ts';
import { checkPublication, createPublication } from './publication.ts';
import { makeIdentityFull, tablesNotFull } from './replica-identity.ts';
import { createSlot, dropSlot, identify, inspectSlot, type OpenSlot } from './slot.ts';

/**
 * Makes what the way back needs, once, while green is standby: REPLICA IDENTITY FULL, publication and slot on green,
 * and the position of the reverse stream on blue. Earlier it would double green's WAL during the copy; later there
 * would be no moment at which it is known to work before it is needed.
 *
 * Called after every clean sweep: what is there and right is left alone, and a run that was killed at any step
 * continues.
 * @throws OrchestrateError WRONG_PHASE when green serves; LOCK_TIMEOUT; IDENTITY_CHANGED.
 */
export async function prepareReverse(ctx: Context): Promise<void> {
  const green = await connect(ctx.endpoints.green, { purpose: 'reverse-setup' });
  try {
    const blue = await connect(ctx.endpoints.blue, { purpose: 'reverse-setup' });
    try {
      const side = await readSide(green, ctx.names.migration);
      if (side?.role !== 'standby')
        throw failure('WRONG_PHASE', {
          expected: 'green is standby',
          found: `green is ${side?.role ?? 'unknown'}`,
        });
      await makeIdentityFull(green, ctx);
      await publish(green, ctx);
      await placeSlot(green, blue, ctx);
    } finally {
      await blue.end();
    }
  } finally {
    await green.end();
  }
}

/** Publishes green's tables; the lock this takes can lose against the applier, so it is tried again. */
async function publish(green: pg.Client, ctx: Context): Promise<void> {
  for (let tries = 1; ; tries++) {
    if (await holds(checkPublication(green, ctx, 'green'), 'PUBLICATION_CHANGED')) return;
    try {
      await failpoint('publication.before');
      await createPublication(green, ctx, 'green');
      await failpoint('publication.after');
      return;
    } catch (error) {
      if (!isTransient(error) || tries >= 10) throw error;
    }
  }
}

async function holds(check: Promise<void>, code: 'PUBLICATION_CHANGED'): Promise<boolean> {
  try {
    await check;
    return true;
  } catch (error) {
    if (error instanceof OrchestrateError && error.code === code) return false;
    throw error;
  }
}

/** The stored position of the stream that leaves `from`, as it is on the other side. */
interface Stored {
  readonly slot: string;
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly lsn: Lsn;
}

const STORED = `
  SELECT slot, system_identifier AS "systemIdentifier", timeline, lsn::text
  FROM orchestrator.progress
  WHERE direction = $1`;

async function stored(client: pg.ClientBase, from: Side): Promise<Stored | null> {
  const { rows } = await client.query<Omit<Stored, 'lsn'> & { lsn: string }>(STORED, [directionFrom(from)]);
  const row = rows[0];
  return row === undefined ? null : { ...row, lsn: parseLsn(row.lsn) };
}

/**
 * Green's slot and its position on blue. The slot is made first and stored second; nothing depends on either before
 * the first cutover, so whatever does not match is made anew as long as green is standby:
 *
 * | # | stored | slot |                                                     |                          |
 * |---|--------|------|-----------------------------------------------------|--------------------------|
 * | 1 | yes    | yes  | same name, server and timeline, stored ≥ confirmed  | nothing to do            |
 * | 2 | yes    | any  | another server or timeline                          | IDENTITY_CHANGED         |
 * | 3 | no     | yes  | killed between the two                              | drop, make, store        |
 * | 4 | yes    | lost, missing or ahead of what is stored            |   | drop, make, store        |
 * | 5 | no     | no   | the first time                                      | make, store              |
 */
async function placeSlot(green: pg.Client, blue: pg.Client, ctx: Context): Promise<void> {
  const name = ctx.names.slot.green;
  const here = await identify(green);
  const position = await stored(blue, 'green');
  const slot = await inspectSlot(green, name);
  if (position) {
    if (position.systemIdentifier !== here.systemIdentifier || position.timeline !== here.timeline)
      throw failure('IDENTITY_CHANGED', {
        message: 'green is not the server whose position is stored on blue', // 2
        expected: `system ${position.systemIdentifier}, timeline ${position.timeline}`,
        found: `system ${here.systemIdentifier}, timeline ${here.timeline}`,
      });
    if (position.slot === name && slot && !slot.lost && position.lsn >= slot.confirmedFlushLsn) return; // 1
  }
  if (slot) await dropSlot(ctx, 'green', name, ctx.claim()); // 3, 4
  await failpoint('slot.before');
  const made = await createSlot(ctx, 'green', { name, temporary: false });
  try {
    await made.release();
    await failpoint('slot.after');
    await transaction(blue, async () => {
      await holdClaim(blue, ctx.claim());
      await store(blue, made);
    });
  } catch (error) {
    await dropSlot(ctx, 'green', name, ctx.claim()).catch(() => {});
    throw error;
  }
  await failpoint('position.after');
  await ctx.journal(position || slot ? 'reverse-slot-remade' : 'reverse-prepared', {
    slot: name,
    consistent_point: formatLsn(made.consistentPoint),
  });
}

const STORE = `
  INSERT INTO orchestrator.progress (direction, slot, system_identifier, timeline, consistent_point, lsn)
  VALUES ('reverse', $1, $2, $3, $4::pg_lsn, $4::pg_lsn)
  ON CONFLICT (direction) DO UPDATE
  SET slot = excluded.slot, system_identifier = excluded.system_identifier, timeline = excluded.timeline,
      consistent_point = excluded.consistent_point, lsn = excluded.lsn, updated_at = clock_timestamp()`;

async function store(blue: pg.Client, slot: OpenSlot): Promise<void> {
  await blue.query(STORE, [slot.name, slot.systemIdentifier, slot.timeline, formatLsn(slot.consistentPoint)]);
}

/** Whether the way back from the side that is to be opened is there; `detail` says what is missing. */
export interface Readiness {
  readonly passed: boolean;
  readonly detail: string;
}

/**
 * What gate `reverse` asks before serving moves to `standby`: publication, slot and stored position of the stream that
 * will leave it, and on green REPLICA IDENTITY FULL. Reads only.
 */
export async function reverseReady(
  ctx: Context,
  standby: Side,
  clients: Readonly<Record<Side, pg.ClientBase>>,
): Promise<Readiness> {
  const missing: string[] = [];
  const there = clients[standby];
  if (!(await holds(checkPublication(there, ctx, standby), 'PUBLICATION_CHANGED')))
    missing.push(`publication ${ctx.names.publication[standby]}`);
  if (standby === 'green')
    for (const table of await tablesNotFull(there, ctx)) missing.push(`REPLICA IDENTITY FULL of ${table}`);
  const slot = await inspectSlot(there, ctx.names.slot[standby]);
  if (!slot || slot.lost) missing.push(`slot ${ctx.names.slot[standby]}${slot ? ' is lost' : ''}`);
  const position = await stored(clients[otherSide(standby)], standby);
  const here = await identify(there);
  if (!position || position.slot !== ctx.names.slot[standby]) missing.push('stored position');
  else if (position.systemIdentifier !== here.systemIdentifier || position.timeline !== here.timeline)
    missing.push(`the server and timeline of the stored position`);
  else if (slot && position.lsn < slot.confirmedFlushLsn)
    missing.push(
      `a stored position (${formatLsn(position.lsn)}) at or after the slot's (${formatLsn(slot.confirmedFlushLsn)})`,
    );
  return missing.length === 0
    ? { passed: true, detail: 'publication, slot and position are there' }
    : { passed: false, detail: `missing on ${standby}: ${missing.join(', ')}` };
}

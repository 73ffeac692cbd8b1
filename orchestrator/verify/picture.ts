import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { hasCode } from '../errors/failure.ts';
import { connect } from '../pg/connect.ts';
import type { Lsn } from '../pg/lsn.ts';
import { otherSide, type Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { createSlot, type OpenSlot } from '../stream/slot.ts';
import { endAll, freezePicture, openReader } from './reader.ts';

/** What a sweep needs of the applier; the rest of it is none of its business. */
export interface Cuttable {
  holdBack<T>(work: () => Promise<T>): Promise<T>;
  cutBefore<T>(lsn: Lsn, paused: () => Promise<T>): Promise<T>;
}

/** Both sides at the same instant: snapshots that any session may import until `release`. */
export interface Picture {
  readonly lsn: Lsn;
  readonly snapshots: Readonly<Record<Side, string>>;
  /**
   * Green's control schema as the applier had left it at the cut. While green serves that is not in green's picture:
   * the applier writes link and diverged later than the changes they speak of.
   */
  readonly control: string;
  /** The sessions that hold the picture; they may read it, too. */
  readonly readers: Readonly<Record<Side | 'control', pg.Client>>;
  release(): Promise<void>;
}

/** How often a cut may come too late, or a slot wait in vain for open transactions, before the sweep gives up. */
const ATTEMPTS = 5;
const LOCK_TIMEOUT_MS = 10_000;
const ABANDONED_CUT_MS = 5_000;

/**
 * Takes the picture of both sides at one LSN (DESIGN 6): a temporary slot on the serving side gives a snapshot and its
 * consistent point; the applier stops exactly there for the moment it takes to export one on the standby.
 * @param atCut runs while the applier is paused at the cut.
 * @throws OrchestrateError CUT_MISSED or LOCK_TIMEOUT after several attempts; both are transient.
 */
export async function takePicture(
  ctx: Context,
  serving: Side,
  applier: Cuttable,
  atCut: () => void = () => {},
): Promise<Picture> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryPicture(ctx, serving, applier, atCut);
    } catch (error) {
      const passing = hasCode(error, 'CUT_MISSED') || hasCode(error, 'LOCK_TIMEOUT');
      if (!passing || attempt === ATTEMPTS) throw error;
      ctx.log.debug({ attempt }, 'the picture of a sweep is taken again');
      await delay(200 * attempt, undefined, { signal: ctx.signal });
    }
  }
}

interface Frozen {
  readonly standby: string;
  readonly control: string;
}

async function tryPicture(
  ctx: Context,
  serving: Side,
  applier: Cuttable,
  atCut: () => void,
): Promise<Picture> {
  const standby = otherSide(serving);
  const holders: pg.Client[] = [];
  const hold = async (side: Side): Promise<pg.Client> => {
    const client = await openReader(ctx, side);
    holders.push(client);
    return client;
  };
  let slot: OpenSlot | undefined;
  let pending: Promise<Frozen> | undefined;
  try {
    // Everything is connected beforehand: the applier waits for one round trip only.
    const servingHolder = await hold(serving);
    const standbyHolder = await hold(standby);
    const controlHolder = serving === 'green' ? await hold('green') : undefined;
    const freezeStandby = async (): Promise<Frozen> => {
      atCut();
      const name = await freezePicture(standbyHolder);
      return { standby: name, control: controlHolder ? await freezePicture(controlHolder) : name };
    };
    await applier.holdBack(async () => {
      slot = await createSlot(ctx, serving, {
        name: `${ctx.names.slot[serving]}_${randomBytes(2).toString('hex')}`,
        temporary: true,
        lockTimeoutMs: LOCK_TIMEOUT_MS,
        onConsistentPoint: (lsn) => {
          pending = applier.cutBefore(lsn, freezeStandby);
          pending.catch(() => {});
        },
      });
    });
    const cut: Promise<Frozen> | undefined = pending;
    if (slot === undefined || cut === undefined) throw new Error('a slot without a consistent point');
    // The cut ends at the first transaction at or after the point: on an idle server that is this one.
    await emitMark(ctx, serving);
    const servingSnapshot = await freezePicture(servingHolder, slot.snapshot);
    const lsn = slot.consistentPoint;
    // Our own session holds the picture from here on; the slot would only retain WAL.
    await slot.release();
    const frozen = await cut;
    const snapshots =
      serving === 'blue'
        ? { blue: servingSnapshot, green: frozen.standby }
        : { blue: frozen.standby, green: servingSnapshot };
    const [blue, green] =
      serving === 'blue' ? [servingHolder, standbyHolder] : [standbyHolder, servingHolder];
    const readers = { blue, green, control: controlHolder ?? green };
    return { lsn, snapshots, control: frozen.control, readers, release: () => endAll(holders) };
  } catch (error) {
    await slot?.release().catch(() => {});
    await endAll(holders);
    // A cut that nobody waits for any more would be in the way of the next one: let it pass.
    if (pending !== undefined) {
      await emitMark(ctx, serving).catch(() => {});
      await Promise.race([pending.catch(() => {}), delay(ABANDONED_CUT_MS)]);
    }
    throw error;
  }
}

const MARK = 'SELECT pg_logical_emit_message(true, $1, $2)';

async function emitMark(ctx: Context, serving: Side): Promise<void> {
  const client = await connect(ctx.endpoints[serving], { purpose: 'sweep-mark' });
  try {
    await transaction(client, async () => {
      await holdClaim(client, ctx.claim());
      await client.query(MARK, [ctx.names.messagePrefix, `sweep:${randomUUID()}`]);
    });
  } finally {
    await client.end();
  }
}

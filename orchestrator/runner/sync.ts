import type pg from 'pg';
import type { OrchestrateError } from '../errors/failure.ts';
import { connect, cut, endOrCut } from '../pg/connect.ts';
import { directionFrom, otherSide, SIDES, type Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { Applier } from '../stream/applier.ts';
import { forwardSink } from '../stream/apply.ts';
import { advanceStandbySlot } from '../stream/retention.ts';
import { reverseSink } from '../stream/reverse.ts';
import { fillVacantKeys } from '../stream/vacant.ts';

const RETENTION_EVERY_MS = 3_000;
/** For how long an advance that has been begun may go on when it is to be the last. */
const LAST_ADVANCE_MS = 1_000;
/** How long the batch in flight may take where the stream is to end whatever becomes of it. */
const LAST_BATCH_MS = 5_000;

/** The stream that leaves the serving side, and the care for the slot that waits on the other one. */
export class Sync {
  readonly serving: Side;
  readonly applier: Applier;
  private readonly ctx: Context;
  private timer: NodeJS.Timeout | undefined;
  private clients: Readonly<Record<Side, pg.Client>> | undefined;
  private advancing: Promise<void> = Promise.resolve();

  private constructor(ctx: Context, serving: Side, applier: Applier) {
    this.ctx = ctx;
    this.serving = serving;
    this.applier = applier;
  }

  /**
   * Starts the stream away from `serving`.
   * @param fatal told when the stream stops for a reason that trying again cannot mend.
   */
  static async start(
    ctx: Context,
    serving: Side,
    options: { truncate: 'apply' | 'refuse' },
    fatal: (error: OrchestrateError) => void,
  ): Promise<Sync> {
    const sink =
      serving === 'blue'
        ? forwardSink(ctx, { mode: 'syncing', truncate: options.truncate })
        : reverseSink(ctx);
    if (serving === 'blue' && ctx.claim().generation > 0n) await inherit(ctx);
    const applier = new Applier(ctx, directionFrom(serving), sink);
    applier.onFatal(fatal);
    await applier.start();
    return new Sync(ctx, serving, applier);
  }

  /** Begins to advance the standby's slot, as retention only (DESIGN 7), on sessions of its own. */
  keepRetention(): void {
    this.timer ??= setInterval(() => {
      this.advancing = this.advancing
        .then(async () => {
          if (!this.timer) return;
          this.clients ??= await openBoth(this.ctx);
          if (!this.timer) return;
          await advanceStandbySlot(this.ctx, otherSide(this.serving), this.clients);
        })
        .catch(async (error: unknown) => {
          await this.endClients();
          this.ctx.log.debug(
            { code: (error as { code?: string }).code },
            'the standby slot was not advanced',
          );
        });
    }, RETENTION_EVERY_MS);
  }

  /** Nothing is asked of the standby's slot any more once this has resolved. */
  async stopRetention(): Promise<void> {
    clearInterval(this.timer);
    this.timer = undefined;
    // One that lands late still goes no further than to a position from before the standby is opened (HISTORIES 13).
    const hung = setTimeout(() => {
      if (this.clients) for (const side of SIDES) cut(this.clients[side]);
    }, LAST_ADVANCE_MS);
    await this.advancing;
    clearTimeout(hung);
    await this.endClients();
  }

  private async endClients(): Promise<void> {
    const { clients } = this;
    this.clients = undefined;
    if (clients) await endOrCut(SIDES.map((side) => clients[side]));
  }

  /** Ends after the batch in flight. @throws the reason of `patience` when that is aborted first: the batch is cut. */
  async stop(patience?: AbortSignal): Promise<void> {
    await this.stopRetention();
    try {
      await this.applier.stop(patience);
    } finally {
      // A stream that is not meant to run has no lag: unknown is absent.
      const labels = { direction: directionFrom(this.serving) };
      for (const name of ['replication_lag_seconds', 'replication_lag_bytes', 'stream_connected'])
        this.ctx.metrics.set(name, labels, undefined);
    }
  }

  /** Ends in a bounded time, where the next epoch follows: a batch that waits for a lock is given up. */
  async giveUp(): Promise<void> {
    await this.stop(AbortSignal.timeout(LAST_BATCH_MS)).catch(() => {
      this.ctx.log.warn({ waitedMs: LAST_BATCH_MS }, 'the last batch of the stream was given up');
    });
  }
}

/**
 * While green served nobody inherited a key. Once blue serves again, and before the first of its changes is applied,
 * every vacant key gets its heir (DESIGN 5, "Who is mapped"). Not earlier: the decision may still be refused, and the
 * reverse stream would take an heir for a user born on green.
 */
async function inherit(ctx: Context): Promise<void> {
  const green = await connect(ctx.endpoints.green, { purpose: 'heirs' });
  try {
    const heirs = await fillVacantKeys(green, ctx);
    if (heirs.length > 0) await ctx.journal('heirs', { count: heirs.length, keys: heirs.slice(0, 100) });
  } finally {
    await green.end();
  }
}

async function openBoth(ctx: Context): Promise<Readonly<Record<Side, pg.Client>>> {
  const blue = await connect(ctx.endpoints.blue, { purpose: 'retention' });
  try {
    return { blue, green: await connect(ctx.endpoints.green, { purpose: 'retention' }) };
  } catch (error) {
    await blue.end();
    throw error;
  }
}

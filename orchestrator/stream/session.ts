import type pg from 'pg';
import { connect, cut, endOrCut } from '../pg/connect.ts';
import { type Direction, destinationOf, sourceOf } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { type Backend, backendOf, type Progress, readProgress } from './progress.ts';
import { checkSource, senderTimeout } from './source-check.ts';
import { Tail } from './tail.ts';

/**
 * Plans of the sessions that a sink uses. The tables have grown since they were last analysed, or never were; every
 * statement of a sink comes with ids, and there is an index for each of them.
 */
const PLANNING = { plan_cache_mode: 'force_generic_plan', enable_seqscan: 'off', jit: 'off' };

/** The connections of one attempt to stream, and what they started from. */
export class StreamSession {
  readonly ctx: Context;
  readonly direction: Direction;
  readonly destination: pg.Client;
  readonly backend: Backend;
  readonly tail: Tail;
  /** The position this session has stored last; the compare-and-set of the next one names it. */
  stored: Progress;
  /** A session on the source that measures the lag. */
  readonly meter: pg.Client;
  #source: Promise<pg.Client> | undefined;
  #closed = false;

  private constructor(
    ctx: Context,
    direction: Direction,
    parts: { destination: pg.Client; backend: Backend; meter: pg.Client; tail: Tail; stored: Progress },
  ) {
    this.ctx = ctx;
    this.direction = direction;
    this.destination = parts.destination;
    this.backend = parts.backend;
    this.tail = parts.tail;
    this.stored = parts.stored;
    this.meter = parts.meter;
  }

  /**
   * Connects both sides, in the order that makes a late batch harmless: first the destination, whose stored position
   * is read once nothing earlier can land any more; then the source is checked against it; then the stream begins
   * there.
   * @param former the destination's session of the attempt before.
   */
  static async open(
    ctx: Context,
    direction: Direction,
    former: Backend | undefined,
    options: { maxBytes: number; wake: () => void },
  ): Promise<StreamSession> {
    const sourceSide = sourceOf(direction);
    const opened: { end(): Promise<void> }[] = [];
    try {
      const destination = await connect(ctx.endpoints[destinationOf(direction)], {
        purpose: `apply-${direction}`,
        settings: PLANNING,
        shortKeepalive: true,
      });
      opened.push(destination);
      const backend = await backendOf(destination);
      const stored = await readProgress(destination, ctx, direction, former);
      const meter = await connect(ctx.endpoints[sourceSide], { purpose: `lag-${direction}` });
      opened.push(meter);
      await checkSource(meter, ctx, sourceSide, stored);
      const tail = new Tail({
        endpoint: ctx.endpoints[sourceSide],
        slot: stored.slot,
        publication: ctx.names.publication[sourceSide],
        start: stored.lsn,
        senderTimeoutMs: await senderTimeout(meter),
        ...options,
      });
      opened.push({ end: () => tail.close() });
      await tail.open();
      return new StreamSession(ctx, direction, { destination, backend, meter, tail, stored });
    } catch (error) {
      await Promise.allSettled(opened.map((o) => o.end()));
      throw error;
    }
  }

  /** A session on the source for reads that answer a change; opened at its first use. */
  source(): Promise<pg.Client> {
    this.#source ??= connect(this.ctx.endpoints[sourceOf(this.direction)], {
      purpose: `read-${this.direction}`,
      settings: PLANNING,
    });
    return this.#source;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Lets nobody wait for a statement any more; its server may still finish it. */
  abandon(): void {
    cut(this.destination);
    cut(this.meter);
    void this.#source?.then(cut, () => {});
  }

  /** Ends every connection; a transaction that is open on the destination is rolled back by its server. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([
      this.tail.close(),
      endOrCut([this.destination, this.meter]),
      this.#source?.then((client) => endOrCut([client])),
    ]);
  }
}

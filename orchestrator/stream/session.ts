import type pg from 'pg';
import { type ConnectOptions, connect, cut, endOrCut } from '../pg/connect.ts';
import { type Direction, destinationOf, type Side, sourceOf } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { type Backend, backendOf, type Progress, readProgress } from './progress.ts';
import { checkSource, senderTimeout } from './source-check.ts';
import { Tail } from './tail.ts';

/**
 * Plans of the sessions that a sink uses. The tables have grown since they were last analysed, or never were; every
 * statement of a sink comes with ids, and there is an index for each of them.
 */
const PLANNING = { plan_cache_mode: 'force_generic_plan', enable_seqscan: 'off', jit: 'off' };

/** Ordinary sessions that end together, or are cut together when nobody waits for their answers any more. */
class Sessions {
  readonly #ctx: Context;
  readonly #abandoned: AbortSignal;
  readonly #clients: pg.Client[] = [];

  constructor(ctx: Context, abandoned: AbortSignal) {
    this.#ctx = ctx;
    this.#abandoned = abandoned;
    abandoned.addEventListener('abort', this.#cut, { once: true });
  }

  /** @returns a session; one that is cut already when nobody waits any more. @throws OrchestrateError as `connect`. */
  async open(side: Side, options: ConnectOptions): Promise<pg.Client> {
    const client = await connect(this.#ctx.endpoints[side], options);
    this.#clients.push(client);
    if (this.#abandoned.aborted) this.#cut();
    return client;
  }

  async end(): Promise<void> {
    this.#abandoned.removeEventListener('abort', this.#cut);
    await endOrCut(this.#clients);
  }

  readonly #cut = (): void => {
    for (const client of this.#clients) cut(client);
  };
}

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
  readonly #sessions: Sessions;
  #source: Promise<pg.Client> | undefined;
  #closed = false;

  private constructor(
    ctx: Context,
    direction: Direction,
    sessions: Sessions,
    parts: { destination: pg.Client; backend: Backend; meter: pg.Client; tail: Tail; stored: Progress },
  ) {
    this.ctx = ctx;
    this.direction = direction;
    this.#sessions = sessions;
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
   * @param options.abandoned cuts its ordinary sessions, also while others are being opened.
   */
  static async open(
    ctx: Context,
    direction: Direction,
    former: Backend | undefined,
    options: { maxBytes: number; wake: () => void; abandoned: AbortSignal },
  ): Promise<StreamSession> {
    const { abandoned, ...tailing } = options;
    const sourceSide = sourceOf(direction);
    const sessions = new Sessions(ctx, abandoned);
    let tail: Tail | undefined;
    try {
      const destination = await sessions.open(destinationOf(direction), {
        purpose: `apply-${direction}`,
        settings: PLANNING,
        shortKeepalive: true,
      });
      const backend = await backendOf(destination);
      const stored = await readProgress(destination, ctx, direction, former);
      const meter = await sessions.open(sourceSide, { purpose: `lag-${direction}` });
      await checkSource(meter, ctx, sourceSide, stored);
      tail = new Tail({
        endpoint: ctx.endpoints[sourceSide],
        slot: stored.slot,
        publication: ctx.names.publication[sourceSide],
        start: stored.lsn,
        senderTimeoutMs: await senderTimeout(meter),
        ...tailing,
      });
      await tail.open();
      return new StreamSession(ctx, direction, sessions, { destination, backend, meter, tail, stored });
    } catch (error) {
      await Promise.allSettled([sessions.end(), tail?.close()]);
      throw error;
    }
  }

  /** A session on the source for reads that answer a change; opened at its first use. */
  source(): Promise<pg.Client> {
    this.#source ??= this.#sessions.open(sourceOf(this.direction), {
      purpose: `read-${this.direction}`,
      settings: PLANNING,
    });
    return this.#source;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Ends every connection; a transaction that is open on the destination is rolled back by its server. */
  async close(): Promise<void> {
    this.#closed = true;
    // One that is just being opened is among them then.
    await this.#source?.catch(() => {});
    await Promise.allSettled([this.tail.close(), this.#sessions.end()]);
  }
}

/** Clients that each write to one side only, come what may: on the side that is closed they are the forgotten jobs. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { otherSide, type Side } from '../../orchestrator/pg/side.ts';
import type { Pair } from './databases.ts';
import { rows } from './sql.ts';
import { until } from './until.ts';

const WRITE: Readonly<Record<Side, string>> = {
  blue: 'UPDATE user_settings SET llm_model = $2 WHERE id = $1',
  green: 'UPDATE settings SET llm_model = $2 WHERE id = $1',
};
const READ: Readonly<Record<Side, string>> = {
  blue: 'SELECT id, llm_model AS token FROM user_settings WHERE id = ANY ($1)',
  green: 'SELECT id, llm_model AS token FROM settings WHERE id = ANY ($1)',
};

/** An acknowledged write: its side accepted writes at one moment between the two times (epoch milliseconds). */
export interface Accepted {
  readonly side: Side;
  readonly sent: number;
  readonly acknowledged: number;
}

const now = (): number => performance.timeOrigin + performance.now();

/** One client of one side, with ids that nobody else writes to. */
class Knocker {
  /** Per id: the last acknowledged token, and those since whose answer never came. */
  readonly promised = new Map<number, { acknowledged: string | undefined; open: string[] }>();
  readonly accepted: Accepted[] = [];
  private readonly side: Side;
  private readonly url: string;
  private readonly ids: readonly number[];
  private client: pg.Client | undefined;
  private round = 0;

  constructor(side: Side, url: string, ids: readonly number[]) {
    this.side = side;
    this.url = url;
    this.ids = ids;
  }

  async write(): Promise<void> {
    const id = this.ids[this.round % this.ids.length] as number;
    const promise = this.promised.get(id) ?? { acknowledged: undefined, open: [] };
    this.promised.set(id, promise);
    this.round += 1;
    const token = `${this.side}:${id}:${this.round}`;
    try {
      const client = await this.session();
      promise.open.push(token);
      const sent = now();
      const { rowCount } = await client.query(WRITE[this.side], [id, token]);
      if (rowCount !== 1) throw new Error(`${this.side} has no row ${id}`);
      promise.acknowledged = token;
      promise.open = [];
      this.accepted.push({ side: this.side, sent, acknowledged: now() });
    } catch (error) {
      // An error of the server that is not the end of its session is a promise too: nothing was written.
      const { severity } = error as { severity?: string };
      if (severity === 'ERROR') promise.open = promise.open.filter((t) => t !== token);
      else await this.close();
    }
  }

  async close(): Promise<void> {
    const { client } = this;
    this.client = undefined;
    await client?.end().catch(() => undefined);
  }

  private async session(): Promise<pg.Client> {
    if (this.client) return this.client;
    const client = new pg.Client({ connectionString: this.url, connectionTimeoutMillis: 2_000 });
    client.on('error', () => undefined);
    await client.connect();
    this.client = client;
    return client;
  }
}

/** Writers and a probe on both sides at once, all the time, whoever serves. */
export class Knockers {
  private readonly pair: Pair;
  private readonly knockers: { readonly knocker: Knocker; readonly everyMs: number }[];
  private work: Promise<void>[] = [];
  private running = false;

  /** @param ids rows that are on both sides; @param writers clients a side beside the probe, which knocks every 20 ms. */
  constructor(pair: Pair, ids: readonly number[], writers = 3) {
    this.pair = pair;
    const count = 2 * (writers + 1);
    this.knockers = Array.from({ length: count }, (_, n) => {
      const side: Side = n % 2 === 0 ? 'blue' : 'green';
      const own = ids.filter((_id, i) => i % count === n);
      return { knocker: new Knocker(side, pair[side].urls.app, own), everyMs: n < 2 ? 20 : 10 };
    });
  }

  start(): void {
    if (this.running) return;
    this.running = true;
    this.work = this.knockers.map(async ({ knocker, everyMs }) => {
      while (this.running) {
        await knocker.write();
        await delay(everyMs);
      }
    });
  }

  /** No new writes; resolves when every client has its answer. */
  async rest(): Promise<void> {
    this.running = false;
    await Promise.all(this.work);
  }

  async end(): Promise<void> {
    await this.rest();
    await Promise.all(this.knockers.map(({ knocker }) => knocker.close()));
  }

  /** @returns the writes acknowledged since the last call, in the order of their acknowledgement. */
  take(): Accepted[] {
    return this.knockers
      .flatMap(({ knocker }) => knocker.accepted.splice(0))
      .sort((a, b) => a.acknowledged - b.acknowledged);
  }

  /** @returns whether a write was acknowledged by this side since the last `take`. */
  accepts(side: Side): boolean {
    return this.knockers.some(({ knocker }) => knocker.accepted.some((a) => a.side === side));
  }

  /** @returns whether this side has acknowledged a write that was sent after `at` (epoch milliseconds). */
  acceptedSince(side: Side, at: number): boolean {
    return this.knockers.some(({ knocker }) => knocker.accepted.some((a) => a.side === side && a.sent > at));
  }

  /**
   * At rest: ids whose last acknowledged token is not on the serving side, or that the standby does not come to hold
   * as well within the patience of `until`.
   */
  async lost(serving: Side): Promise<{ serving: number[]; standby: number[] }> {
    const promised = new Map(this.knockers.flatMap(({ knocker }) => [...knocker.promised]));
    const held = await this.tokens(serving, [...promised.keys()]);
    const lost = [...promised].filter(
      ([id, p]) =>
        p.acknowledged !== undefined &&
        held.get(id) !== p.acknowledged &&
        !p.open.includes(held.get(id) ?? ''),
    );
    let differing: number[] = [];
    await until('the standby to hold the same', async () => {
      const other = await this.tokens(otherSide(serving), [...promised.keys()]);
      differing = [...held].filter(([id, token]) => other.get(id) !== token).map(([id]) => id);
      return differing.length === 0;
    }).catch(() => undefined);
    return { serving: lost.map(([id]) => id), standby: differing };
  }

  private async tokens(side: Side, ids: readonly number[]): Promise<Map<number, string>> {
    const found = await rows<{ id: number; token: string }>(this.pair[side].urls.superuser, READ[side], [
      ids,
    ]);
    return new Map(found.map((r) => [r.id, r.token]));
  }
}

/**
 * How often the side that takes writes certainly changed: each acknowledged write proves its side open at one moment
 * of its interval, and a chain of such proofs, each wholly after the last and on the other side, can be no longer than
 * the number of handovers. Were both sides open at once it would grow with every pair of writes (I4).
 */
export function changesOfSide(accepted: readonly Accepted[], first: Side): number {
  let side = first;
  let provedAt = Number.NEGATIVE_INFINITY;
  let changes = 0;
  for (const write of accepted) {
    if (write.side !== side && write.sent > provedAt) {
      changes += 1;
      side = write.side;
      provedAt = write.acknowledged;
    } else if (write.side === side && provedAt === Number.NEGATIVE_INFINITY) provedAt = write.acknowledged;
  }
  return changes;
}

/** @returns the longest time without an acknowledged write that lies before `until`, and after it, in milliseconds. */
export function longestGaps(
  accepted: readonly Accepted[],
  span: { readonly from: number; readonly until: number; readonly to: number },
): { before: number; after: number } {
  const gaps = { before: 0, after: 0 };
  let last = span.from;
  for (const at of [...accepted.map((a) => a.acknowledged), span.to]) {
    if (last < span.until) gaps.before = Math.max(gaps.before, Math.min(at, span.until) - last);
    if (at > span.until) gaps.after = Math.max(gaps.after, at - Math.max(last, span.until));
    last = Math.max(last, at);
  }
  return gaps;
}

/** A small application for fault tests: it writes tokens, and remembers which ones were acknowledged. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Side } from '../../orchestrator/pg/side.ts';
import type { Pair } from './databases.ts';
import { rows } from './sql.ts';

const STATEMENT: Readonly<Record<Side, string>> = {
  blue: 'UPDATE user_settings SET llm_model = $2 WHERE id = $1',
  green: 'UPDATE settings SET llm_model = $2 WHERE id = $1',
};
const READ: Readonly<Record<Side, string>> = {
  blue: 'SELECT id, llm_model AS token FROM user_settings WHERE id = ANY ($1)',
  green: 'SELECT id, llm_model AS token FROM settings WHERE id = ANY ($1)',
};

/** Several clients, each with ids of its own; a refused or broken client knocks at the other door. */
export class Scribe {
  /** Per id: the last acknowledged token, and those whose answer never came since. */
  private readonly promised = new Map<number, { acknowledged: string | undefined; open: string[] }>();
  private readonly pair: Pair;
  private readonly work: Promise<void>[];
  private stopped = false;
  acknowledged = 0;
  /** Longest time without an acknowledged write, in ms, and when the last one was. */
  longestGapMs = 0;
  lastAt = performance.now();
  lastSide: Side = 'blue';

  constructor(pair: Pair, ids: readonly number[], clients = 4) {
    this.pair = pair;
    this.work = Array.from({ length: clients }, (_, n) =>
      this.write(ids.filter((_id, i) => i % clients === n)),
    );
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.work);
  }

  /** @returns how many ids do not hold their last acknowledged token (or a later one of unknown outcome) on `serving`. */
  async lost(serving: Side): Promise<number> {
    const ids = [...this.promised].filter(([, p]) => p.acknowledged !== undefined).map(([id]) => id);
    const url = serving === 'blue' ? this.pair.blue.urls.superuser : this.pair.green.urls.superuser;
    const found = new Map(
      (await rows<{ id: number; token: string }>(url, READ[serving], [ids])).map((r) => [r.id, r.token]),
    );
    return ids.filter((id) => {
      const p = this.promised.get(id);
      const token = found.get(id) ?? '';
      return token !== p?.acknowledged && !p?.open.includes(token);
    }).length;
  }

  private async write(ids: readonly number[]): Promise<void> {
    let side: Side = 'blue';
    let client: pg.Client | undefined;
    for (let n = 0; !this.stopped; n++) {
      const id = ids[n % ids.length] as number;
      const promise = this.promised.get(id) ?? { acknowledged: undefined, open: [] };
      this.promised.set(id, promise);
      const token = `${id}:${n}`;
      try {
        if (!client) {
          client = new pg.Client({
            connectionString: side === 'blue' ? this.pair.blue.urls.app : this.pair.green.urls.app,
            connectionTimeoutMillis: 2_000,
          });
          client.on('error', () => {});
          await client.connect();
        }
        promise.open.push(token);
        await client.query(STATEMENT[side], [id, token]);
        promise.acknowledged = token;
        promise.open = [];
        this.acknowledged += 1;
        const now = performance.now();
        this.longestGapMs = Math.max(this.longestGapMs, now - this.lastAt);
        this.lastAt = now;
        this.lastSide = side;
      } catch (error) {
        // 25006 is a promise too: it was not written.
        if ((error as { code?: string }).code === '25006')
          promise.open = promise.open.filter((t) => t !== token);
        await client?.end().catch(() => {});
        client = undefined;
        side = side === 'blue' ? 'green' : 'blue';
      }
      await delay(5);
    }
    await client?.end().catch(() => {});
  }
}

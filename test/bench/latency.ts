/** From an acknowledged commit on one side to its rows on the other, while so many commits a second go on. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

export interface Latency {
  /** Commits a second that were asked for, and that were reached. */
  readonly wanted: number;
  readonly reached: number;
  readonly samples: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

interface Asked {
  readonly blue: string;
  readonly green: string;
  readonly perSecond: number;
  readonly seconds: number;
}

const WRITERS = 16;
/** The row whose commits are timed, some hundred a second; the others only make the load. */
const TIMED = 2;
const SAMPLE_EVERY_MS = 10;

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

export async function latencyAt({ blue, green, perSecond, seconds }: Asked): Promise<Latency> {
  const endsAt = performance.now() + seconds * 1_000;
  let commits = 0;
  const load = Array.from({ length: WRITERS }, async (_, writer) => {
    const client = await connected(blue);
    const gapMs = (WRITERS / perSecond) * 1_000;
    let due = performance.now() + (writer / WRITERS) * gapMs;
    for (let n = 0; performance.now() < endsAt; n++) {
      const waitMs = due - performance.now();
      // What is late is not made up for in one burst.
      if (waitMs > 0) await delay(waitMs);
      else if (waitMs < -1_000) due = performance.now();
      due += gapMs;
      await client.query({
        name: 'load',
        text: 'UPDATE user_settings SET language = $2, user_version = $3 WHERE id = $1',
        values: [10 + writer + WRITERS * (n % 100), `n${n}`, n % 5],
      });
      commits += 1;
    }
    await client.end();
  });
  const acknowledgedAt: number[] = [];
  const latencies: number[] = [];
  let writing = true;
  const timed = (async () => {
    const client = await connected(blue);
    while (performance.now() < endsAt) {
      await client.query({
        name: 'timed',
        text: 'UPDATE user_settings SET max_iterations = $2 WHERE id = $1',
        values: [TIMED, acknowledgedAt.length],
      });
      acknowledgedAt.push(performance.now());
      commits += 1;
      await delay(SAMPLE_EVERY_MS);
    }
    await client.end();
    writing = false;
  })();
  const watching = (async () => {
    const client = await connected(green);
    let next = 0;
    while (writing || next < acknowledgedAt.length) {
      const { rows } = await client.query<{ n: number | null }>({
        name: 'visible',
        text: 'SELECT max_iterations AS n FROM settings WHERE id = $1',
        values: [TIMED],
      });
      const now = performance.now();
      for (; next < acknowledgedAt.length && next <= (rows[0]?.n ?? -1); next++)
        latencies.push(Math.max(0, now - (acknowledgedAt[next] as number)));
      await delay(1);
    }
    await client.end();
  })();
  await Promise.all([...load, timed, watching]);
  latencies.sort((a, b) => a - b);
  const at = (share: number): number =>
    Number((latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0).toFixed(1));
  return {
    wanted: perSecond,
    reached: Math.round(commits / seconds),
    samples: latencies.length,
    p50Ms: at(0.5),
    p90Ms: at(0.9),
    p99Ms: at(0.99),
    maxMs: at(1),
  };
}

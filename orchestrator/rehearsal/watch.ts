import type pg from 'pg';
import { otherSide, type Side } from '../pg/side.ts';
import { openLook, type Pair } from './embedded-pair.ts';
import type { LagSample } from './report.ts';

/** What can be seen of a run from outside, by plain SQL on both sides. */
export interface Sight {
  /** null before the control schema is there. */
  readonly phase: string | null;
  readonly chunksDone: number;
  readonly chunks: number;
  /** A clean sweep has been stored. */
  readonly proved: boolean;
  /** What the way back needs has been made: its position is stored on blue. */
  readonly reverse: boolean;
}

const NOTHING: Sight = { phase: null, chunksDone: 0, chunks: 0, proved: false, reverse: false };

const HAS_CONTROL = `SELECT to_regclass('orchestrator.run') IS NOT NULL AS there`;

const SIGHT_GREEN = `
  SELECT (SELECT phase FROM orchestrator.run LIMIT 1) AS phase,
         (SELECT count(*) FILTER (WHERE status = 'done')::integer FROM orchestrator.chunk) AS done,
         (SELECT count(*)::integer FROM orchestrator.chunk) AS chunks,
         EXISTS (SELECT FROM orchestrator.sweep WHERE clean) AS proved`;

const SIGHT_BLUE = `
  SELECT to_regclass('orchestrator.progress') IS NOT NULL AS there`;

const REVERSE = `SELECT EXISTS (SELECT FROM orchestrator.progress WHERE direction = 'reverse') AS reverse`;

const PARKED = 'SELECT id FROM orchestrator.parked';

/** When each phase began; the run itself is taken as begun with the first entry of the journal. */
const PHASES = `
  SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, event, detail
  FROM orchestrator.journal
  ORDER BY id`;

const WRITTEN = 'SELECT pg_current_wal_flush_lsn()::text AS lsn';

const APPLIED = `
  SELECT (lsn - '0/0'::pg_lsn)::text AS applied, ($2::pg_lsn - '0/0'::pg_lsn)::text AS written
  FROM orchestrator.progress
  WHERE direction = $1`;

export interface JournalLine {
  readonly at: string;
  readonly event: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** Looks at both sides as the superuser; the program knows nothing of it. */
export class Watch {
  readonly #clients: Readonly<Record<Side, pg.Client>>;
  readonly #samples: LagSample[] = [];
  readonly #began: number;
  #sampler: { stop(): Promise<void> } | undefined;

  private constructor(clients: Readonly<Record<Side, pg.Client>>, began: number) {
    this.#clients = clients;
    this.#began = began;
  }

  /** @param began the rehearsal's zero, of `performance.now()`. */
  static async open(pair: Pair, began: number): Promise<Watch> {
    const blue = await openLook(pair.urls.blue.superuser);
    try {
      return new Watch({ blue, green: await openLook(pair.urls.green.superuser) }, began);
    } catch (error) {
      await blue.end();
      throw error;
    }
  }

  get samples(): readonly LagSample[] {
    return this.#samples;
  }

  async sight(): Promise<Sight> {
    const { blue, green } = this.#clients;
    if ((await green.query<{ there: boolean }>(HAS_CONTROL)).rows[0]?.there !== true) return NOTHING;
    const seen = (
      await green.query<{ phase: string | null; done: number; chunks: number; proved: boolean }>(SIGHT_GREEN)
    ).rows[0];
    const there = (await blue.query<{ there: boolean }>(SIGHT_BLUE)).rows[0]?.there === true;
    const reverse = there && (await blue.query<{ reverse: boolean }>(REVERSE)).rows[0]?.reverse === true;
    return {
      phase: seen?.phase ?? null,
      chunksDone: seen?.done ?? 0,
      chunks: seen?.chunks ?? 0,
      proved: seen?.proved ?? false,
      reverse,
    };
  }

  /** Ids of the rows that are parked now. */
  async parked(): Promise<ReadonlySet<number>> {
    return new Set((await this.#clients.green.query<{ id: number }>(PARKED)).rows.map(({ id }) => id));
  }

  async journal(): Promise<JournalLine[]> {
    return (await this.#clients.green.query<JournalLine>(PHASES)).rows;
  }

  /** What the serving side has written by now, as a position of its WAL. */
  async written(serving: Side): Promise<string> {
    return (await this.#clients[serving].query<{ lsn: string }>(WRITTEN)).rows[0]?.lsn ?? '0/0';
  }

  /** How many bytes the standby's stored position is short of `position`; 0 when it has passed it. */
  async behind(serving: Side, position: string): Promise<number | undefined> {
    const direction = serving === 'blue' ? 'forward' : 'reverse';
    const { rows } = await this.#clients[otherSide(serving)].query<{ applied: string; written: string }>(
      APPLIED,
      [direction, position],
    );
    const [row] = rows;
    return row === undefined ? undefined : Math.max(0, Number(BigInt(row.written) - BigInt(row.applied)));
  }

  /** Takes a sample of the lag every second until `stopSampling`. */
  sample(serving: () => Side): void {
    let busy: Promise<void> = Promise.resolve();
    const look = async (): Promise<void> => {
      const side = serving();
      const bytes = await this.behind(side, await this.written(side));
      if (bytes === undefined) return;
      this.#samples.push({
        at_seconds: Math.round((performance.now() - this.#began) / 100) / 10,
        bytes,
        serving: side,
      });
    };
    const timer = setInterval(() => {
      busy = busy.then(look).catch(() => undefined);
    }, 1_000);
    this.#sampler = {
      stop: async () => {
        clearInterval(timer);
        await busy;
      },
    };
  }

  async stopSampling(): Promise<void> {
    await this.#sampler?.stop();
    this.#sampler = undefined;
  }

  async close(): Promise<void> {
    await this.stopSampling();
    await Promise.all(Object.values(this.#clients).map((client) => client.end().catch(() => undefined)));
  }
}

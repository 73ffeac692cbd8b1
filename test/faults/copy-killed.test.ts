/**
 * Seeded runs of the whole program with 200 writes a second on blue: at random moments of copy and build the program
 * is killed, or a server is restarted without a checkpoint; `orchestrate run` alone brings every one to its end (I12).
 *
 * `ORCHESTRATE_CRASH_RUNS` says how many (2 unless given), `ORCHESTRATE_CRASH_SEED` the first seed: to repeat run 7 alone,
 * `ORCHESTRATE_CRASH_SEED=7 ORCHESTRATE_CRASH_RUNS=1 npm run test:crash`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { migrateUp } from '../../migrations/migrator.ts';
import { clientConfig } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { checkPromises } from '../../orchestrator/rehearsal/comparison/promises.ts';
import { compareSides } from '../../orchestrator/rehearsal/comparison.ts';
import { createRandom, type Random } from '../../orchestrator/rehearsal/generator/random.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { Ledger } from '../../orchestrator/rehearsal/ledger.ts';
import { startWorkload, type Workload } from '../../orchestrator/rehearsal/workload.ts';
import { type ChunkRow, chunksOf, type Keys, keysOf } from '../support/copy-trial.ts';
import { freshPair, type OwnPair, ownPair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { SCHEMAS } from '../support/run-context.ts';
import { rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

const FIRST_SEED = Number(process.env['ORCHESTRATE_CRASH_SEED'] ?? 1);
const RUNS = Number(process.env['ORCHESTRATE_CRASH_RUNS'] ?? 2);

const USERS = 20_000;
const WRITES_A_SECOND = 200;
/** Stretches the copy to a few seconds, so that there are moments to choose from. */
const COPY_RATE = '6MiB';

type Victim = 'program' | 'blue' | 'green';

/** When: once so much of the copy is done, or the build goes on; and some milliseconds later. */
interface Fault {
  readonly victim: Victim;
  readonly phase: 'copying' | 'building';
  readonly share: number;
  readonly laterMs: number;
}

/** One to three faults in the copy, one or two in the build, in the order in which their moments come. */
function drawFaults(random: Random): Fault[] {
  // A deck, so that three faults never have the same victim.
  let deck: Victim[] = [];
  const victim = (): Victim => {
    if (deck.length === 0) deck = ['program', 'blue', 'green'];
    return deck.splice(random.between(0, deck.length - 1), 1)[0] as Victim;
  };
  const copy = Array.from({ length: random.between(1, 3) }, () => random.next())
    .sort((a, b) => a - b)
    .map((share): Fault => ({ victim: victim(), phase: 'copying', share, laterMs: random.between(0, 150) }));
  const build = Array.from(
    { length: random.between(1, 2) },
    (): Fault => ({ victim: victim(), phase: 'building', share: 0, laterMs: random.between(0, 500) }),
  );
  return [...copy, ...build];
}

/** Starts `run` again whenever it has ended, as an operator or Kubernetes would. */
class Operator {
  private current: Running;
  private stopped = false;
  private readonly work: Promise<void>;
  readonly exits: string[] = [];
  private readonly start: () => Running;

  constructor(j: Journey) {
    this.start = () => j.run({}, '--max-copy-rate', COPY_RATE);
    this.current = this.start();
    this.work = this.follow();
    this.work.catch(() => {});
  }

  kill(): void {
    this.current.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.current.kill('SIGKILL');
    await this.work;
  }

  lastWords(): string {
    return this.current.stderr().slice(-3_000);
  }

  private async follow(): Promise<void> {
    for (;;) {
      const { exit } = await this.current.ended;
      if (this.stopped) return;
      this.exits.push(String(exit ?? this.current.process.signalCode));
      if (exit === 2) throw new Error(`run ended with 2: ${this.lastWords()}`);
      await delay(200);
      this.current = this.start();
    }
  }
}

/** What green says of the run; null while it cannot be asked or has nothing to say. */
async function look(pair: OwnPair): Promise<{ phase: string; chunks: ChunkRow[] } | null> {
  try {
    const [run] = await rows<{ phase: string }>(
      pair.green.urls.superuser,
      'SELECT phase FROM orchestrator.run',
    );
    return run === undefined ? null : { phase: run.phase, chunks: await chunksOf(pair) };
  } catch {
    return null;
  }
}

const done = (chunks: readonly ChunkRow[]): ChunkRow[] => chunks.filter((c) => c.status === 'done');
const PAST: Readonly<Record<Fault['phase'], readonly string[]>> = {
  copying: ['building', 'syncing'],
  building: ['syncing'],
};

const folder = mkdtempSync(join(tmpdir(), 'orchestrate-crash-'));
let built: Keys;
let pair: OwnPair | undefined;
let operator: Operator | undefined;
let workload: Workload | undefined;

/** The keys of revision 056, from a database that nobody has copied into. */
beforeAll(async () => {
  const pristine = await freshPair();
  try {
    const config = clientConfig(parseEndpoint('green', pristine.green.urls.sync), { purpose: 'test' });
    await migrateUp({ config, schemas: SCHEMAS, owner: pristine.green.roles.owner, inPlace: false });
    built = await keysOf(pristine);
  } finally {
    await pristine.drop();
  }
});

afterEach(async () => {
  await workload?.stop();
  await operator?.stop();
  await pair?.drop();
  [workload, operator, pair] = [undefined, undefined, undefined];
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('copy and build under writes, with the program killed and servers restarted', () => {
  const seeds = Array.from({ length: RUNS }, (_, n) => FIRST_SEED + n);

  it.each(seeds)('seed %i', async (seed) => {
    const faults = drawFaults(createRandom(`crash/${seed}`));
    pair = await ownPair();
    await loadUsers(pair.blue.urls.owner, { users: USERS, seed: `crash/${seed}` });
    const ledger = new Ledger(join(folder, `${seed}.jsonl`));
    workload = await startWorkload({
      databases: { blue: pair.blue.urls.app, green: pair.green.urls.app },
      ledger,
      rate: WRITES_A_SECOND,
      seed,
      exotic: true,
      target: () => 'blue',
    });
    operator = new Operator(journey(pair));

    const explained = (error: unknown): never => {
      const ends = operator?.exits.join(' ') ?? '';
      throw new Error(`run ended with ${ends}; ${operator?.lastWords() ?? ''}`, { cause: error });
    };

    const finished = new Map<string, ChunkRow>();
    let struck = 0;
    const midway: number[] = [];
    for (const fault of faults) {
      const seen = await moment(pair, fault).catch(explained);
      if (seen === 'past') continue;
      await delay(fault.laterMs);
      await strike(pair, operator, fault.victim);
      struck++;
      // What is done now has been committed, and has to be the same row of the same work in the end.
      const now = done((await until('green to answer', () => look(pair as OwnPair))).chunks);
      for (const c of now) finished.set(c.lower, c);
      if (fault.phase === 'copying') midway.push(now.length);
    }
    await until(
      'run to have copied and built',
      async () => (await look(pair as OwnPair))?.phase === 'syncing',
      90_000,
    ).catch(explained);
    const statistics = await workload.stop();
    await drained(pair);
    const chunks = await chunksOf(pair);
    const again = chunks.filter(
      (c) => finished.has(c.lower) && JSON.stringify(finished.get(c.lower)) !== JSON.stringify(c),
    );
    const compared = await compareSides({
      databases: { blue: pair.blue.urls.superuser, green: pair.green.urls.superuser },
      serving: 'blue',
      greenWritten: false,
      settleMs: 30_000,
    });
    const kept = await checkPromises({
      database: pair.blue.urls.superuser,
      side: 'blue',
      ledger: ledger.path,
    });
    ledger.close();
    process.stdout.write(
      `seed ${seed}: ${faults.map((f) => `${f.victim} in ${f.phase}`).join(', ')}; ${struck} struck, ` +
        `run ended ${operator.exits.length} times (${operator.exits.join(' ')}), ` +
        `faults of the copy met ${midway.join(' ')} of ${chunks.length} chunks done, ${again.length} copied again, ` +
        `${new Set(chunks.map((c) => c.lsn)).size} snapshots, ${statistics.acknowledged} writes acknowledged, ` +
        `${kept.lost.length} lost, ${compared.blueRows} rows, ${compared.total} differences\n`,
    );
    expect(built.length).toBeGreaterThan(20);
    expect(struck).toBeGreaterThan(0);
    expect(statistics.acknowledged).toBeGreaterThan(100);
    expect(again).toEqual([]);
    expect(chunks.every((c) => c.status === 'done')).toBe(true);
    expect(compared.differences).toEqual([]);
    expect(compared.mapped + compared.parked).toBe(compared.blueRows);
    expect(kept.lost).toEqual([]);
    // The applier may have made its own two, for many deletions; the last handover or the end removes them.
    const keys = (await keysOf(pair)).filter((k) => !k.object.startsWith('public.orchestrate_settings_'));
    expect(keys).toEqual(built);
  });
});

/** Waits until green has everything that was written before now. */
async function drained(on: OwnPair): Promise<void> {
  const [written] = await rows<{ lsn: string }>(
    on.blue.urls.superuser,
    'SELECT pg_current_wal_lsn()::text AS lsn',
  );
  await until(
    'the stream to have carried everything over',
    async () => {
      const found = await rows(
        on.green.urls.superuser,
        `SELECT FROM orchestrator.progress WHERE direction = 'forward' AND lsn >= $1::pg_lsn`,
        [written?.lsn],
      );
      return found.length === 1;
    },
    90_000,
  );
}

/** Waits for the moment of a fault. @returns `past` when the work has gone beyond it. */
async function moment(on: OwnPair, fault: Fault): Promise<'now' | 'past'> {
  return until(
    `${fault.phase}, ${fault.share}`,
    async () => {
      const seen = await look(on);
      if (seen === null) return null;
      if (PAST[fault.phase].includes(seen.phase)) return 'past';
      if (seen.phase !== fault.phase) return null;
      if (fault.phase === 'building') return 'now';
      return seen.chunks.length > 0 &&
        done(seen.chunks).length >= Math.floor(seen.chunks.length * fault.share)
        ? 'now'
        : null;
    },
    60_000,
  );
}

async function strike(on: OwnPair, runner: Operator, victim: Victim): Promise<void> {
  if (victim === 'program') runner.kill();
  else await on.servers[victim].restartImmediate();
}

import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Side } from '../pg/side.ts';
import { type Database, openSession } from './connection.ts';
import type { Ledger } from './ledger.ts';
import { type ClientContext, type Tally, WorkloadClient } from './workload/client.ts';
import { Doors } from './workload/door.ts';
import { dealUsers, People } from './workload/population.ts';
import { Schedule } from './workload/schedule.ts';

export interface WorkloadOptions {
  /** Both databases as the application reaches them, with the application's role. */
  readonly databases: Readonly<Record<Side, Database>>;
  readonly ledger: Ledger;
  /** Connections that write; default 8. */
  readonly clients?: number;
  /** Writes offered a second, over all clients; default 50. */
  readonly rate?: number;
  readonly seed?: number | string;
  /** Tells the side to use now. Without it a refused client knocks at the other door. */
  readonly target?: () => Side;
  /** The side that serves at the start, where no `target` tells; default blue. */
  readonly first?: Side;
  /** Which statements to use on a side; default old on blue, new on green. `green: 'old'` is the compatibility view. */
  readonly schemas?: Partial<Record<Side, 'old' | 'new'>>;
  /** Deletes, key changes, renamed organisations, second members: a share of the writes (`true` is 0.1). */
  readonly exotic?: boolean | number;
  /** Share of the old application's writes that go to users without a key of their own; default 0.03. */
  readonly odd?: number;
  /** Every so often one statement updates the whole table; default never. */
  readonly everyoneEveryMs?: number;
  /** Share of writes that go to the wrong side first, as a forgotten job would; default 0. */
  readonly strays?: number;
  /** Pause between two tries of a refused write; default 5 ms. */
  readonly knockMs?: number;
  /** Users with a lower id are left alone; default: none are. */
  readonly firstUser?: number;
  /** About how many of the users there are are written to; default 50,000. */
  readonly maxUsers?: number;
  /** How long `pause` and `stop` wait for writes that are refused or unanswered; default 10 s. */
  readonly drainMs?: number;
}

export interface WorkloadStatistics extends Tally {
  readonly offered: number;
  /** Due writes that found no free client: the rate was not kept. */
  readonly shed: number;
}

export interface Workload {
  statistics(): WorkloadStatistics;
  /** No new writes; resolves when the ones on their way have their answer. */
  pause(): Promise<void>;
  resume(): void;
  /** Pauses, then closes all connections. Can be called again. */
  stop(): Promise<WorkloadStatistics>;
}

/**
 * Starts the application: clients that write through its own statements and keep the ledger.
 * @throws the connection's error when the serving side cannot be reached at the start.
 */
export async function startWorkload(options: WorkloadOptions): Promise<Workload> {
  const clients = options.clients ?? 8;
  const rate = options.rate ?? 50;
  const exotic = options.exotic === true ? 0.1 : options.exotic === false ? 0 : (options.exotic ?? 0);
  const schemas = { blue: 'old', green: 'new', ...options.schemas } as const;
  const doors = new Doors(options.databases, options.target, options.first ?? 'blue');

  const side = doors.current();
  const session = await openSession(options.databases[side], 'application start');
  let dealt: Awaited<ReturnType<typeof dealUsers>>;
  try {
    dealt = await dealUsers(session, schemas[side], clients, options.maxUsers ?? 50_000, options.firstUser);
  } finally {
    await session.end();
  }

  let givingUp = false;
  const context: ClientContext = {
    run: randomBytes(3).toString('hex'),
    ledger: options.ledger,
    doors,
    schemas,
    exotic,
    strays: options.strays ?? 0,
    odd: options.odd ?? 0.03,
    knockMs: options.knockMs ?? 5,
    seed: String(options.seed ?? 1),
    givingUp: () => givingUp,
  };
  const writers = dealt.flocks.map((flock, n) => new WorkloadClient(context, n + 1, flock));
  const job = new WorkloadClient(context, 0, { regular: new People(), odd: new People() });
  const schedule = new Schedule(rate, Math.max(clients, Math.ceil(rate / 4)));

  let running: Promise<void>[] = [];
  let halted = new AbortController();
  const loop = async (writer: WorkloadClient): Promise<void> => {
    while (await schedule.take()) await writer.write();
  };
  const everyone = async (everyMs: number, signal: AbortSignal): Promise<void> => {
    // After an unknown outcome the statement may still land: the job ends for good.
    while (job.tally.unknown === 0) {
      await delay(everyMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      await job.writeEveryone(dealt.highestId);
    }
  };
  const resume = (): void => {
    if (running.length > 0) return;
    givingUp = false;
    halted = new AbortController();
    schedule.start();
    running = writers.map(loop);
    if (options.everyoneEveryMs !== undefined) running.push(everyone(options.everyoneEveryMs, halted.signal));
  };
  const pause = async (): Promise<void> => {
    schedule.halt();
    halted.abort();
    const drainMs = options.drainMs ?? 10_000;
    const giveUp = setTimeout(() => {
      givingUp = true;
    }, drainMs);
    const cut = setTimeout(() => {
      // Still no answer: the connection goes, and the ledger says unknown.
      for (const client of [...writers, job]) void client.close();
    }, drainMs + 1_000);
    await Promise.all(running).finally(() => {
      clearTimeout(giveUp);
      clearTimeout(cut);
    });
    running = [];
  };
  const statistics = (): WorkloadStatistics => {
    const sum = (key: keyof Tally): number =>
      [...writers, job].reduce((total, client) => total + client.tally[key], 0);
    return {
      offered: schedule.offered,
      shed: schedule.shed,
      acknowledged: sum('acknowledged'),
      refused: sum('refused'),
      abandoned: sum('abandoned'),
      unknown: sum('unknown'),
      signUps: sum('signUps'),
      deletes: sum('deletes'),
    };
  };
  resume();
  return {
    statistics,
    pause,
    resume,
    stop: async () => {
      await pause();
      schedule.close();
      await Promise.all([...writers, job].map((client) => client.close()));
      return statistics();
    },
  };
}

/** The faults of the random test, and which operations each of them hit. */
import { setTimeout as delay } from 'node:timers/promises';
import type { OwnPair } from '../../support/databases.ts';
import type { TcpProxy } from '../../support/proxy.ts';
import { oneOf, type Random } from '../../support/seeded.ts';
import { rows } from '../../support/sql.ts';
import type { StreamProcess } from '../../support/stream-process.ts';
import { until } from '../../support/until.ts';
import type { Writers } from './writers.ts';

export interface Stage {
  readonly pair: OwnPair;
  readonly program: StreamProcess;
  readonly proxies: { readonly blue: TcpProxy; readonly green: TcpProxy };
}

const KILL_WALSENDERS = `
  SELECT pg_terminate_backend(active_pid)
  FROM pg_replication_slots
  WHERE database = current_database() AND active_pid IS NOT NULL`;

const KILL_APPLIER = `
  SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
  WHERE datname = current_database() AND usename = $1`;

/** How long a fault may keep the stream from going on; a bound, not an expectation. */
const PATIENCE_MS = 180_000;

const POINTS = ['apply.before', 'apply.after', 'ack.before', 'ack.after'];

type Fault = (stage: Stage, next: Random) => Promise<unknown>;

export const FAULTS: Readonly<Record<string, Fault>> = {
  'program killed': async ({ program }) => program.kill(),
  'program killed at commit or acknowledgement': async ({ program }, next) => {
    const before = program.crashes;
    program.kill(`${oneOf(next, POINTS)}:crash:${1 + next(12)}`);
    await until('the failpoint', () => program.crashes > before || program.fatal !== undefined, PATIENCE_MS);
  },
  'blue restarted (immediate)': ({ pair }) => pair.servers.blue.restartImmediate(),
  'green restarted (immediate)': ({ pair }) => pair.servers.green.restartImmediate(),
  'walsender killed': ({ pair }) => rows(pair.blue.urls.superuser, KILL_WALSENDERS),
  'applier’s session killed': ({ pair }) =>
    rows(pair.green.urls.superuser, KILL_APPLIER, [pair.green.roles.sync]),
  'sockets cut': async ({ proxies }, next) => {
    const which = next(3);
    if (which !== 1) proxies.blue.cut();
    if (which !== 0) proxies.green.cut();
  },
};

const SEEN = `
  SELECT id FROM settings WHERE id = ANY ($1)
  UNION ALL
  SELECT id FROM orchestrator.parked WHERE id = ANY ($1)
  LIMIT 1`;

/** Operation → fault → transactions that were open or acknowledged while the fault kept the stream from going on. */
export type Hits = Map<string, Map<string, number>>;

/**
 * Lets every fault strike once or more, in an order drawn by `next`; some while the one before still lasts.
 * @throws Error when the stream does not go on.
 */
export async function strike(stage: Stage, writers: Writers, next: Random, hits: Hits): Promise<void> {
  const plan = shuffled([...Object.keys(FAULTS), oneOf(next, Object.keys(FAULTS))], next);
  const lasting: Promise<void>[] = [];
  let failed: unknown;
  for (const name of plan) {
    await delay(100 + next(300));
    const struckAt = performance.now();
    await FAULTS[name]?.(stage, next);
    const outage = goesOn(stage, writers).then(() => {
      count(hits, name, writers, struckAt, performance.now());
    });
    outage.catch((error: unknown) => {
      failed ??= error;
    });
    lasting.push(outage);
    if (next(3) > 0) await outage;
    if (failed !== undefined) break;
  }
  await Promise.all(lasting);
}

const SOURCE_STATE = `
  SELECT pg_current_wal_lsn() AS now,
         (SELECT json_agg(s) FROM (SELECT slot_name, active_pid, restart_lsn, confirmed_flush_lsn FROM pg_replication_slots) s) AS slots,
         (SELECT json_agg(p.gid) FROM pg_prepared_xacts p) AS prepared,
         (SELECT json_agg(a) FROM (
            SELECT application_name, state, wait_event_type, wait_event, now() - xact_start AS open, left(query, 60) AS query
            FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()) a) AS sessions`;

const DESTINATION_STATE = `
  SELECT (SELECT json_agg(p) FROM orchestrator.progress p) AS progress,
         (SELECT json_agg(a) FROM (
            SELECT application_name, state, wait_event_type, wait_event, now() - xact_start AS open, left(query, 60) AS query
            FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()) a) AS sessions`;

/** What both servers say while the stream stands still. */
async function picture(pair: OwnPair): Promise<string> {
  const [blue, green] = await Promise.all([
    rows(pair.blue.urls.superuser, SOURCE_STATE),
    rows(pair.green.urls.superuser, DESTINATION_STATE),
  ]);
  return JSON.stringify({ blue, green });
}

/** Waits until something arrives on green that was written to blue from now on. */
async function goesOn({ pair, program }: Stage, writers: Writers): Promise<void> {
  const from = writers.tried.length;
  await until(
    'the stream to go on',
    async () => {
      if (program.fatal !== undefined) return true;
      const since = writers.tried
        .slice(from)
        .filter((t) => t.outcome === 'acknowledged')
        .slice(-500);
      const found = await rows(pair.green.urls.superuser, SEEN, [since.map((t) => t.witness)]);
      return found.length > 0;
    },
    PATIENCE_MS,
  ).catch(async (error: unknown) => {
    throw new Error(
      `the stream does not go on; ${writers.tried.length - from} transactions later: ${await picture(pair)}`,
      { cause: error },
    );
  });
  if (program.fatal !== undefined) throw new Error(`the stream has stopped: ${program.fatal}`);
}

function count(hits: Hits, fault: string, writers: Writers, from: number, to: number): void {
  for (const tried of writers.tried) {
    if (tried.begunAt > to || tried.endedAt < from) continue;
    for (const kind of tried.kinds) {
      const ofKind = hits.get(kind) ?? new Map<string, number>();
      hits.set(kind, ofKind.set(fault, (ofKind.get(fault) ?? 0) + 1));
    }
  }
}

function shuffled<T>(items: T[], next: Random): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = next(i + 1);
    [items[i], items[j]] = [items[j] as T, items[i] as T];
  }
  return items;
}

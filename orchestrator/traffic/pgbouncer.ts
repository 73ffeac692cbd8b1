import { setTimeout as delay } from 'node:timers/promises';
import { failure } from '../errors/failure.ts';
import type { Side } from '../pg/side.ts';
import type { TrafficDriver, TrafficTask } from './driver.ts';
import { Console, onEach, type Shown } from './pgbouncer/console.ts';
import { installTarget, readTarget, type Target, versionOf } from './pgbouncer/target.ts';
import { type PauseWatchdog, watchPauseWith } from './watchdog.ts';

export interface PgbouncerOptions {
  /** The instances' admin consoles; secrets. */
  readonly consoles: readonly string[];
  /** The database as clients call it. */
  readonly database: string;
  /** The included file of each instance, or one that all of them share. */
  readonly includes: readonly string[];
}

/** What the watchdog has to undo, and when (epoch seconds). */
export interface PauseOfPgbouncer {
  readonly consoles: readonly string[];
  readonly database: string;
  readonly deadline: number;
}

const SWITCH_EVERY_MS = 20;
const SWITCH_MS = 10_000;

const failed = (step: string, at: string, expected: string, found: string): Error =>
  failure('TRAFFIC_FAILED', { message: `pgbouncer ${at} failed at ${step}`, expected, found });

const leadsTo = (shown: Shown, target: Target): boolean =>
  shown.host === target.host && shown.port === target.port && shown.database === target.database;

const say = (t: Target): string => `${t.host}:${t.port}/${t.database}`;

/**
 * Clients wait inside pgbouncer instead of failing: PAUSE on every instance, the new target by the included file and
 * RELOAD, proved by SHOW DATABASES, then RESUME. Every step may be repeated.
 */
export function pgbouncerTraffic(options: PgbouncerOptions): TrafficDriver {
  const { consoles, database } = options;
  const includeOf = (n: number): string => options.includes[n] ?? (options.includes[0] as string);
  let watchdog: PauseWatchdog | undefined;
  const dismiss = () => {
    watchdog?.dismiss();
    watchdog = undefined;
  };

  const shown = async (console: Console, step: string): Promise<Shown> => {
    const found = await console.show(database);
    if (!found) throw failed(step, console.label, `a database ${database}`, 'none of that name');
    return found;
  };
  const target = async (n: number, side: Side, step: string, at: string): Promise<Target> => {
    const found = await readTarget(includeOf(n), side, database).catch(() => null);
    if (!found) throw failed(step, at, `a line for ${database} in ${versionOf(includeOf(n), side)}`, 'none');
    return found;
  };
  /**
   * Points every instance to `side`; resolves once each of them shows it. Clients of an instance that does are resumed at
   * once: they do not wait for one that is down.
   */
  const point = async (side: Side, step: string): Promise<void> => {
    const installed = new Map<string, Promise<void>>();
    for (const n of consoles.keys())
      if (!installed.has(includeOf(n))) installed.set(includeOf(n), installTarget(includeOf(n), side));
    // Also those of an instance that is down: it comes back with them.
    await Promise.allSettled(installed.values());
    await onEach(consoles, async (console, n) => {
      await installed.get(includeOf(n));
      const wanted = await target(n, side, step, console.label);
      const end = Date.now() + SWITCH_MS;
      await console.reload();
      for (;;) {
        const now = await shown(console, step);
        if (leadsTo(now, wanted)) return console.resume(database);
        if (Date.now() > end) throw failed(step, console.label, say(wanted), say(now));
        await delay(SWITCH_EVERY_MS);
      }
    });
  };
  const resume = () => onEach(consoles, (console) => console.resume(database)).then(() => {});

  return {
    name: 'pgbouncer',
    check: async (task) => {
      const warnings = await onEach(consoles, async (console, n) => {
        const now = await shown(console, 'check');
        const from = await target(n, task.from, 'check', console.label);
        await target(n, task.to, 'check', console.label);
        if (!leadsTo(now, from)) throw failed('check', console.label, say(from), say(now));
        return now.poolMode === 'session'
          ? [`${console.label} pools sessions: clients must disconnect before it can pause`]
          : [];
      });
      return warnings.flat();
    },
    pause: async (task) => {
      watchdog = watchPauseWith(new URL('./pgbouncer/watchdog-process.js', import.meta.url), {
        input: JSON.stringify({ consoles, database, deadline: task.deadline } satisfies PauseOfPgbouncer),
      });
      await pauseAll(task);
    },
    decided: dismiss,
    switch: (task) => point(task.to, 'switch'),
    resume,
    undo: async (task) => {
      await point(task.from, 'undo');
      dismiss();
    },
  };

  /** Half of what is left until the deadline belongs to the freeze. @throws OrchestrateError TRAFFIC_FAILED; all are resumed then. */
  async function pauseAll(task: TrafficTask): Promise<void> {
    const limitMs = Math.max(250, (task.deadline * 1000 - Date.now()) / 2);
    const outcomes = await Promise.allSettled(consoles.map((url) => pauseOne(url, database, limitMs)));
    const broken = outcomes.find((outcome) => outcome.status === 'rejected');
    if (!broken) return;
    await resume().catch(() => {});
    throw broken.reason;
  }
}

async function pauseOne(url: string, database: string, limitMs: number): Promise<void> {
  const console = await Console.open(url);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    console.cut();
  }, limitMs);
  try {
    await console.pause(database);
  } catch (error) {
    if (late)
      throw failed(
        'pause',
        console.label,
        `every server connection given back within ${Math.round(limitMs)} ms`,
        'clients that still hold some',
      );
    throw error;
  } finally {
    clearTimeout(timer);
    if (!late) await console.close();
  }
}

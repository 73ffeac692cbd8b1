import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Settings } from '../config/settings.ts';
import { failure, hasCode, OrchestrateError } from '../errors/failure.ts';
import { isTransient } from '../errors/sqlstate.ts';
import type { Log } from '../log/log.ts';
import { type Metrics, noMetrics } from '../metrics/metrics.ts';
import { connect } from '../pg/connect.ts';
import { endpointOf } from '../pg/endpoints.ts';
import { abort } from '../phases/abort.ts';
import { finishEnding } from '../phases/ending.ts';
import { readJournal } from '../state/journal.ts';
import type { Request } from '../state/request.ts';
import { hasControl } from '../state/store.ts';
import { contextAlone } from './control.ts';
import { cancelRequest, type FollowOptions, follow, led, newestEntry } from './follower.ts';
import { type Outcome, writeRequest } from './requests.ts';
import { Runner } from './runner.ts';

export interface RemoteOptions extends FollowOptions {
  readonly metrics?: Metrics;
}

/**
 * Asks the runner for something and follows it to the end. Where no runner holds the lease, one lives inside this
 * process for as long as the request needs; it never starts prepare or copy.
 * @returns the exit code and the JSON document of the command.
 * @throws OrchestrateError NOT_TAKEN_UP (8) when no runner took the request up in time; CANNOT_CONNECT.
 */
export async function request(
  settings: Settings,
  log: Log,
  asked: Request,
  options: RemoteOptions,
): Promise<Outcome> {
  if (asked.command === 'abort' || asked.command === 'finalize') {
    const ended = await endUnfinished(settings, log);
    if (ended) return ended;
  }
  // Abort works from blue alone: green may be gone for good, or was never made.
  if (asked.command === 'abort' && !(await controlOnGreen(settings)))
    return abort(contextAlone(settings, log));
  const green = await connect(endpointOf(settings, 'green'), { purpose: 'command' });
  try {
    if (!(await hasControl(green)))
      throw failure('WRONG_PHASE', {
        message: `${asked.command} has no meaning before the migration has been started`,
        expected: 'a migration that has been started',
        found: 'none',
        fix: 'orchestrate run',
      });
    if (!(await led(green, settings))) {
      const inside = await insideThisProcess(settings, log, asked, options);
      if (inside) return inside;
    }
  } finally {
    await green.end().catch(() => {});
  }
  return follow(settings, asked, options);
}

async function controlOnGreen(settings: Settings): Promise<boolean> {
  try {
    const client = await connect(endpointOf(settings, 'green'), { purpose: 'command' });
    try {
      return await hasControl(client);
    } finally {
      await client.end();
    }
  } catch (error) {
    if (hasCode(error, 'CANNOT_CONNECT')) return false;
    throw error;
  }
}

/** An abort or a finalize that was begun and died is finished by either command. */
async function endUnfinished(settings: Settings, log: Log): Promise<Outcome | null> {
  try {
    return await finishEnding(contextAlone(settings, log));
  } catch (error) {
    if (hasCode(error, 'LEASE_HELD') || hasCode(error, 'CANNOT_CONNECT')) return null;
    throw error;
  }
}

/** @returns null when another runner took the lease in the same moment: then it is asked instead. */
async function insideThisProcess(
  settings: Settings,
  log: Log,
  asked: Request,
  options: RemoteOptions,
): Promise<Outcome | null> {
  let runner: Runner;
  try {
    runner = await Runner.open({
      settings,
      log,
      metrics: options.metrics ?? noMetrics,
      // Ctrl-C is not a reason to drop a handover half-way: it is turned into a cancelled request below.
      signal: new AbortController().signal,
      wait: false,
      mayCopy: false,
    });
  } catch (error) {
    if (hasCode(error, 'LEASE_HELD')) return null;
    throw error;
  }
  const teller = await connect(runner.ctx.endpoints.green, { purpose: 'command' });
  const telling = tellEvents(teller, settings, options);
  try {
    const id = await writeRequest(teller, settings.migration, asked, settings.timeoutMs, 'claimed');
    telling.begin(id);
    const cancel = () => void cancelRequest(teller, id).catch(() => {});
    options.signal.addEventListener('abort', cancel, { once: true });
    const outcome = await runner.serve({ ...asked, id });
    options.signal.removeEventListener('abort', cancel);
    return outcome;
  } finally {
    await telling.end();
    await teller.end().catch(() => {});
    await runner.close();
    log.warn({}, 'no runner follows now: start one with orchestrate run');
  }
}

/** Tells the journal's new entries while a runner in this process works. */
function tellEvents(client: pg.Client, settings: Settings, options: RemoteOptions) {
  let ended = false;
  let work: Promise<void> = Promise.resolve();
  let after = '0';
  const drain = async () => {
    for (const entry of await readJournal(client, settings.migration, after)) {
      after = entry.id;
      options.onEvent(entry);
    }
  };
  return {
    begin: (_id: string) => {
      work = (async () => {
        after = await newestEntry(client, settings.migration);
        while (!ended) {
          await drain();
          await delay(100);
        }
        await drain();
      })().catch((error: unknown) => {
        // The journal goes with the control schema when a migration ends.
        if (!isTransient(error) && !(error instanceof OrchestrateError)) return;
      });
    },
    end: async () => {
      ended = true;
      await work;
    },
  };
}

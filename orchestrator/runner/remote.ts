import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Settings } from '../config/settings.ts';
import { failure, hasCode, OrchestrateError } from '../errors/failure.ts';
import { isGone, isTransient } from '../errors/sqlstate.ts';
import type { Log } from '../log/log.ts';
import { type Metrics, noMetrics } from '../metrics/metrics.ts';
import { connect } from '../pg/connect.ts';
import { endpointOf } from '../pg/endpoints.ts';
import { abort } from '../phases/abort.ts';
import { finishEnding } from '../phases/ending.ts';
import type { JournalEntry } from '../state/documents.ts';
import { readJournal } from '../state/journal.ts';
import { namesOf } from '../state/names.ts';
import type { Request } from '../state/request.ts';
import { hasControl } from '../state/store.ts';
import { contextAlone } from './control.ts';
import { leaseHolder } from './lease.ts';
import { CHANNEL, type Outcome, writeRequest } from './requests.ts';
import { Runner } from './runner.ts';

export interface RemoteOptions {
  /** Aborted by Ctrl-C: the runner is asked to cancel, and its answer is followed. */
  readonly signal: AbortSignal;
  /** The journal's entries that belong to the request, as they come. */
  readonly onEvent: (entry: JournalEntry) => void;
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
    return await follow(green, settings, asked, options);
  } finally {
    await green.end().catch(() => {});
  }
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

async function follow(
  green: pg.Client,
  settings: Settings,
  asked: Request,
  options: RemoteOptions,
): Promise<Outcome> {
  let announced: (Outcome & { request: string }) | undefined;
  green.on('notification', (n) => {
    if (n.payload?.startsWith('{')) announced = JSON.parse(n.payload) as Outcome & { request: string };
  });
  await green.query(`LISTEN ${CHANNEL}`);
  const after = await newestEntry(green, settings.migration);
  const id = await writeRequest(green, settings.migration, asked, settings.timeoutMs, 'pending');
  const deadline = Date.now() + settings.timeoutMs;
  let seen = after;
  let cancelled = false;
  let claimed = false;
  for (;;) {
    if (options.signal.aborted && !cancelled) {
      cancelled = true;
      await cancelRequest(green, id);
    }
    const looked = await look(green, settings.migration, id, seen);
    if (announced?.request === id) return { exit: announced.exit, document: announced.document };
    if (!looked) {
      // The control schema is gone: the runner's last word comes as a notification.
      if (Date.now() > deadline)
        throw failure('TIMED_OUT', { expected: 'the outcome of the request', found: 'none' });
      await delay(50);
      continue;
    }
    for (const entry of looked.entries) {
      seen = entry.id;
      options.onEvent(entry);
    }
    if (looked.status === 'done' && looked.result) return looked.result;
    claimed ||= looked.status === 'claimed';
    if (looked.status === 'cancelled') throw cancelledBy(cancelled, claimed);
    if (looked.status === 'pending' && Date.now() > deadline && (await withdraw(green, id)))
      throw failure('NOT_TAKEN_UP', { expected: `a runner within ${settings.timeoutMs} ms`, found: 'none' });
    if (looked.status === 'claimed' && !(await led(green, settings)))
      await runnerMustComeBack(green, settings, id);
    await delay(100);
  }
}

/** Why a request came to nothing. One that was taken up and is cancelled now was undone by the next runner. */
function cancelledBy(asked: boolean, claimed: boolean): OrchestrateError {
  if (asked)
    return failure('INTERRUPTED', {
      message: claimed
        ? 'cancelled; the runner died and its work was undone'
        : 'cancelled before it was taken up',
    });
  return claimed
    ? failure('HANDOVER_ABORTED', { message: 'the runner died; the next one has undone what it had begun' })
    : failure('NOT_TAKEN_UP', { message: 'a new runner has cancelled the request' });
}

/**
 * A runner that died with our request in hand: the next one cancels it or finishes what was decided. One that ended
 * the migration has let go of the lease too, and its last word is on the way.
 */
async function runnerMustComeBack(green: pg.Client, settings: Settings, id: string): Promise<void> {
  const deadline = Date.now() + settings.timeoutMs;
  while (Date.now() < deadline) {
    const status = await unlessEnded(async () => {
      const { rows } = await green.query<{ status: string }>(
        'SELECT status FROM orchestrator.request WHERE id = $1',
        [id],
      );
      return rows[0]?.status ?? null;
    });
    if (status !== 'claimed' || (await led(green, settings))) return;
    await delay(200);
  }
  throw failure('HANDOVER_UNFINISHED', {
    message: 'the runner died while it carried the request out',
    expected: 'an answer',
    found: 'no runner',
  });
}

/** @returns whether a runner is at work; none is once the migration has ended. */
async function led(green: pg.Client, settings: Settings): Promise<boolean> {
  return (await unlessEnded(() => leaseHolder(green, namesOf(settings.migration)))) !== null;
}

interface Look {
  readonly status: string;
  readonly result: Outcome | null;
  readonly entries: readonly JournalEntry[];
}

/** @returns null when the control schema is no longer there: the migration has ended. */
function look(green: pg.Client, migration: string, id: string, after: string): Promise<Look | null> {
  return unlessEnded(async () => {
    const { rows } = await green.query<{ status: string; result: Outcome | null }>(
      'SELECT status, result FROM orchestrator.request WHERE id = $1',
      [id],
    );
    const entries = await readJournal(green, migration, after);
    return rows[0] ? { ...rows[0], entries } : null;
  });
}

/** @returns null when the migration has ended, and the control schema with it. */
async function unlessEnded<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

async function newestEntry(green: pg.Client, migration: string): Promise<string> {
  const { rows } = await green.query<{ id: string | null }>(
    'SELECT max(id)::text AS id FROM orchestrator.journal WHERE migration = $1',
    [migration],
  );
  return rows[0]?.id ?? '0';
}

async function cancelRequest(green: pg.Client, id: string): Promise<void> {
  await unlessEnded(() => green.query('SELECT orchestrator.cancel_request($1)', [id]));
  await green.query(`SELECT pg_notify('${CHANNEL}', 'cancel')`);
}

/** @returns whether the request was still nobody's, and now stays so. */
async function withdraw(green: pg.Client, id: string): Promise<boolean> {
  const { rows } = await green.query<{ withdrawn: boolean }>(
    'SELECT orchestrator.withdraw_request($1) AS withdrawn',
    [id],
  );
  return rows[0]?.withdrawn === true;
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

import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Settings } from '../config/settings.ts';
import { asFailure } from '../errors/as-failure.ts';
import { failure, OrchestrateError } from '../errors/failure.ts';
import { isGone, isTransient } from '../errors/sqlstate.ts';
import { connect, endOrCut } from '../pg/connect.ts';
import { endpointOf } from '../pg/endpoints.ts';
import type { JournalEntry } from '../state/documents.ts';
import { readJournal } from '../state/journal.ts';
import { namesOf } from '../state/names.ts';
import type { Request } from '../state/request.ts';
import { leaseHolder } from './lease.ts';
import { CHANNEL, type Outcome, writeRequest } from './requests.ts';

export interface FollowOptions {
  /** Aborted by Ctrl-C: the runner is asked to cancel, and its answer is followed. */
  readonly signal: AbortSignal;
  /** The journal's entries that belong to the request, as they come. */
  readonly onEvent: (entry: JournalEntry) => void;
}

const LOOK_EVERY_MS = 100;

/**
 * Asks the runner for something and follows it to the end, through restarts of green and of the runner.
 * @throws OrchestrateError NOT_TAKEN_UP (8) when no runner took the request up in time; CANNOT_CONNECT; INTERRUPTED,
 *   HANDOVER_ABORTED, HANDOVER_UNFINISHED and TRANSIENT for a runner that died over it; TIMED_OUT.
 */
export async function follow(settings: Settings, asked: Request, options: FollowOptions): Promise<Outcome> {
  const follower = await Follower.ask(settings, asked, options);
  try {
    return await follower.end();
  } finally {
    await follower.close();
  }
}

/** One request of ours and a session on green that hears of it; opened anew where it is lost. */
class Follower {
  private green: pg.Client;
  private announced: (Outcome & { request: string }) | undefined;
  private cancelled = false;
  private claimed = false;
  private readonly deadline: number;
  private readonly settings: Settings;
  private readonly asked: Request;
  private readonly options: FollowOptions;
  private readonly id: string;
  /** The newest entry of the journal that was told. */
  private seen: string;

  private constructor(
    green: pg.Client,
    settings: Settings,
    asked: Request,
    options: FollowOptions,
    id: string,
    seen: string,
  ) {
    this.green = green;
    this.settings = settings;
    this.asked = asked;
    this.options = options;
    this.id = id;
    this.seen = seen;
    this.deadline = Date.now() + settings.timeoutMs;
    this.hear();
  }

  static async ask(settings: Settings, asked: Request, options: FollowOptions): Promise<Follower> {
    const green = await listening(settings);
    try {
      const seen = await newestEntry(green, settings.migration);
      const id = await writeRequest(green, settings.migration, asked, settings.timeoutMs, 'pending');
      return new Follower(green, settings, asked, options, id, seen);
    } catch (error) {
      await green.end().catch(() => {});
      throw error;
    }
  }

  async end(): Promise<Outcome> {
    for (;;) {
      try {
        const outcome = await this.look();
        if (outcome) return outcome;
        await delay(LOOK_EVERY_MS);
      } catch (error) {
        // The request is on disk, and whoever leads answers it: that green was restarted is no end of it.
        if (error instanceof OrchestrateError || !isTransient(error)) throw error;
        await this.renew();
      }
    }
  }

  async close(): Promise<void> {
    await endOrCut([this.green]);
  }

  private hear(): void {
    this.green.on('notification', (n) => {
      if (n.payload?.startsWith('{')) this.announced = JSON.parse(n.payload) as Outcome & { request: string };
    });
  }

  private async renew(): Promise<void> {
    await this.close();
    const { timeoutMs } = this.settings;
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      try {
        this.green = await listening(this.settings);
        this.hear();
        return;
      } catch (cause) {
        if (!isTransient(cause)) throw cause;
        if (Date.now() > deadline)
          throw failure('CANNOT_CONNECT', {
            message: 'green was lost while the request was carried out',
            expected: `green within ${timeoutMs} ms`,
            found: asFailure(cause).detail.found ?? 'nothing',
            fix: 'orchestrate status',
            cause,
          });
        await delay(200);
      }
    }
  }

  /** @returns what the request came to; null while that is open. */
  private async look(): Promise<Outcome | null> {
    const { green, settings, id } = this;
    if (this.options.signal.aborted && !this.cancelled) {
      await cancelRequest(green, id);
      this.cancelled = true;
    }
    const looked = await look(green, settings.migration, id, this.seen);
    if (this.announced?.request === id)
      return { exit: this.announced.exit, document: this.announced.document };
    if (!looked) {
      // The control schema is gone: the runner's last word comes as a notification.
      if (Date.now() > this.deadline)
        throw failure('TIMED_OUT', { expected: 'the outcome of the request', found: 'none' });
      return null;
    }
    for (const entry of looked.entries) {
      this.seen = entry.id;
      this.options.onEvent(entry);
    }
    if (looked.status === 'done' && looked.result) return looked.result;
    this.claimed ||= looked.status === 'claimed';
    if (looked.status === 'cancelled') throw cancelledBy(this.asked, this.cancelled, this.claimed);
    if (looked.status === 'pending' && Date.now() > this.deadline && (await withdraw(green, id)))
      throw failure('NOT_TAKEN_UP', { expected: `a runner within ${settings.timeoutMs} ms`, found: 'none' });
    if (looked.status === 'claimed' && !(await led(green, settings)))
      await runnerMustComeBack(green, settings, id);
    return null;
  }
}

/** @returns a session that is told what is notified from now on. */
async function listening(settings: Settings): Promise<pg.Client> {
  const green = await connect(endpointOf(settings, 'green'), { purpose: 'command' });
  try {
    await green.query(`LISTEN ${CHANNEL}`);
    return green;
  } catch (error) {
    await green.end().catch(() => {});
    throw error;
  }
}

/** Why a request came to nothing. One that was taken up and is cancelled now was undone by the next runner. */
function cancelledBy({ command }: Request, byUs: boolean, claimed: boolean): OrchestrateError {
  if (byUs)
    return failure('INTERRUPTED', {
      message: claimed
        ? 'cancelled; the runner died and its work was undone'
        : 'cancelled before it was taken up',
    });
  if (!claimed) return failure('NOT_TAKEN_UP', { message: 'a new runner has cancelled the request' });
  return command === 'cutover' || command === 'revert'
    ? failure('HANDOVER_ABORTED', { message: 'the runner died; the next one has undone what it had begun' })
    : failure('TRANSIENT', { message: 'the runner died while it carried the request out' });
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
export async function led(green: pg.Client, settings: Settings): Promise<boolean> {
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

export async function newestEntry(green: pg.Client, migration: string): Promise<string> {
  const { rows } = await green.query<{ id: string | null }>(
    'SELECT max(id)::text AS id FROM orchestrator.journal WHERE migration = $1',
    [migration],
  );
  return rows[0]?.id ?? '0';
}

export async function cancelRequest(green: pg.Client, id: string): Promise<void> {
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

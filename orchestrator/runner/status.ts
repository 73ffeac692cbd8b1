import type pg from 'pg';
import { qualified } from '../../src/mapping/identifier.ts';
import type { Settings } from '../config/settings.ts';
import { readCopyProgress } from '../copy/progress.ts';
import { hasCode } from '../errors/failure.ts';
import { isGone, sqlState } from '../errors/sqlstate.ts';
import { readFence } from '../fence/fence.ts';
import { connect } from '../pg/connect.ts';
import { endpointOf } from '../pg/endpoints.ts';
import { type LockWait, lockWaits } from '../pg/lock-waits.ts';
import { parseLsn } from '../pg/lsn.ts';
import { directionFrom, otherSide, SIDES, type Side } from '../pg/side.ts';
import type { StatusDocument } from '../state/documents.ts';
import { namesOf, tablesOf } from '../state/names.ts';
import { readObservation } from '../state/observation.ts';
import type { State } from '../state/state.ts';
import { hasControl, readSide, readState, type SideRow } from '../state/store.ts';
import { inspectSlot } from '../stream/slot.ts';
import { finalizedSide } from './ended.ts';
import { guideFigures } from './guide-figures.ts';

type Clients = Partial<Record<Side, pg.Client>>;

/** A run that begins or ends makes or drops what is just being read: a few looks outlast that. */
const LOOKS = 5;
/** internal_error: what a server says of an object that was dropped between its name and its content. */
const VANISHED = 'XX000';

/**
 * What an SRE wants to know first, read from both sides without touching anything. What cannot be known is null.
 * A side that cannot be reached is named in `unreachable`; a refused login is an error.
 */
export async function readStatus(settings: Settings): Promise<StatusDocument> {
  const clients: Clients = {};
  const unreachable: Side[] = [];
  try {
    for (const side of SIDES)
      try {
        clients[side] = await connect(endpointOf(settings, side), {
          purpose: 'status',
          settings: { statement_timeout: '10s' },
        });
      } catch (error) {
        if (!hasCode(error, 'CANNOT_CONNECT')) throw error;
        unreachable.push(side);
      }
    for (let left = LOOKS - 1; ; left--)
      try {
        return await gather(settings, clients, unreachable);
      } catch (error) {
        if (left === 0 || !(isGone(error) || sqlState(error) === VANISHED)) throw error;
      }
  } finally {
    await Promise.all(Object.values(clients).map((c) => c.end().catch(() => {})));
  }
}

const NOTHING = {
  copy: { rows_done: null, rows_expected: null, eta: null },
  lag: { seconds: null, bytes: null },
  slot: { name: null, wal_status: null, retained_bytes: null },
  verify: { last_success: null, mismatched: null, delta_keys: null, parked: null },
  gates: [],
} as const;

async function gather(settings: Settings, clients: Clients, unreachable: Side[]): Promise<StatusDocument> {
  const { migration } = settings;
  const waits: LockWait[] = [];
  for (const side of SIDES) {
    const tables = tablesOf(side, settings.schemas).map((t) => qualified(t.schema, t.name));
    const client = clients[side];
    if (client) waits.push(...(await lockWaits(client, side, tables)));
  }
  const base = { migration, stopped: null, unreachable, ...NOTHING, lock_waits: waits, guide: null };
  const rows: Partial<Record<Side, SideRow | null>> = {};
  for (const side of SIDES) {
    const client = clients[side];
    if (client) rows[side] = await readSide(client, migration);
  }
  const green = clients.green;
  if (!rows.blue && !rows.green) {
    const ended = unreachable.length === 0 ? await finalizedSide(settings) : null;
    if (unreachable.length === SIDES.length)
      return {
        ...base,
        phase: null,
        generation: null,
        serving: null,
        standby: null,
        direction: null,
        next_steps: ['orchestrate preflight'],
      };
    return {
      ...base,
      phase: ended ? 'finalized' : 'created',
      generation: null,
      serving: ended ?? 'blue',
      standby: ended ? otherSide(ended) : 'green',
      direction: null,
      next_steps: ended ? [] : ['orchestrate preflight', 'orchestrate run'],
    };
  }
  const serving = servingOf(rows);
  const names = namesOf(migration);
  const source = serving ? clients[serving] : undefined;
  const slot = serving && source ? await inspectSlot(source, names.slot[serving]) : null;
  const known = {
    generation: highest(rows),
    serving,
    standby: serving ? otherSide(serving) : null,
    direction: serving ? directionFrom(serving) : null,
    slot: {
      name: serving ? names.slot[serving] : null,
      wal_status: slot?.walStatus ?? null,
      retained_bytes: slot ? Number(slot.retainedBytes) : null,
      safe_bytes: slot?.safeWalBytes === undefined ? null : Number(slot.safeWalBytes),
    },
  };
  if (!green || !(await hasControl(green))) {
    // Without green the phase is not known: it is there that it is kept.
    const next_steps = [green ? 'orchestrate run' : 'orchestrate status --watch'];
    return { ...base, ...known, phase: green ? 'created' : null, next_steps };
  }
  const { state, since, stopped } = await readState(green, migration);
  const seen = await readObservation(green, migration);
  const progress = await readCopyProgress(green, { names });
  // A side may serve without a row of its own yet, or any more: green's is made first, and blue's goes first.
  const fence =
    serving && source && rows[serving]
      ? await readFence(source, { schemas: settings.schemas }, serving)
      : null;
  return {
    ...base,
    ...known,
    phase: state.phase,
    since,
    unmoved: unmovedFrom(state),
    stopped: (stopped as StatusDocument['stopped']) ?? null,
    copy: { rows_done: progress.rowsDone, rows_expected: progress.rowsExpected, eta: progress.eta },
    lag: {
      seconds: seen?.lag_seconds ?? null,
      bytes: serving ? await lagBytes(clients, serving) : null,
      errors: seen?.errors ?? null,
      changes_per_second: seen?.changes_per_second ?? null,
    },
    freeze: {
      predicted_seconds: seen?.predicted_seconds ?? null,
      budget_seconds: seen?.budget_seconds ?? null,
      last_rehearsal_seconds: await lastRehearsal(green, migration),
    },
    gates: seen?.gates ?? [],
    guide: await guideFigures(clients, migration, seen),
    verify: { ...(await verified(green, migration)), delta_keys: seen?.delta_keys ?? null },
    next_steps: nextSteps(state, serving, stopped !== null, fence?.state ?? null, seen !== null),
  };
}

/** The side that serves, by the two rows; between a decision and its opening none does. */
function servingOf(rows: Partial<Record<Side, SideRow | null>>): Side | null {
  for (const side of SIDES) if (rows[side]?.role === 'serving') return side;
  const only = SIDES.find((side) => rows[side]);
  return only && !rows[otherSide(only)] && rows[only]?.role === 'standby' ? otherSide(only) : null;
}

function highest(rows: Partial<Record<Side, SideRow | null>>): number | null {
  const all = SIDES.flatMap((side) => rows[side]?.generation ?? []);
  return all.length === 0 ? null : Math.max(...all.map(Number));
}

/** WAL of the serving side that is not applied on the standby: from the stored position, not from what was sent. */
async function lagBytes(clients: Clients, serving: Side): Promise<number | null> {
  const source = clients[serving];
  const destination = clients[otherSide(serving)];
  if (!source || !destination) return null;
  const { rows: stored } = await destination.query<{ lsn: string }>(
    'SELECT lsn::text FROM orchestrator.progress WHERE direction = $1',
    [directionFrom(serving)],
  );
  if (!stored[0]) return null;
  const { rows: written } = await source.query<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn');
  const behind = parseLsn(written[0]?.lsn ?? '0/0') - parseLsn(stored[0].lsn);
  return behind < 0n ? 0 : Number(behind);
}

async function lastRehearsal(green: pg.Client, migration: string): Promise<number | null> {
  const { rows } = await green.query<{ seconds: number }>(
    `SELECT (detail ->> 'freeze_seconds')::double precision AS seconds
     FROM orchestrator.journal
     WHERE migration = $1 AND event = 'handover' AND detail ->> 'outcome' = 'rehearsed'
     ORDER BY id DESC
     LIMIT 1`,
    [migration],
  );
  return rows[0]?.seconds ?? null;
}

async function verified(green: pg.Client, migration: string) {
  const { rows } = await green.query<{
    last_success: string | null;
    mismatched: number | null;
    rows_compared: string | null;
    parked: number;
  }>(
    `SELECT (SELECT to_char(max(finished_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
             FROM orchestrator.sweep WHERE clean) AS last_success,
            (SELECT jsonb_array_length(result -> 'mismatches') FROM orchestrator.sweep ORDER BY id DESC LIMIT 1)
              AS mismatched,
            (SELECT rows_compared::text FROM orchestrator.sweep ORDER BY id DESC LIMIT 1) AS rows_compared,
            (SELECT count(*)::integer FROM orchestrator.parked) AS parked
     WHERE $1::text IS NOT NULL`,
    [migration],
  );
  const row = rows[0];
  return {
    last_success: row?.last_success ?? null,
    mismatched: row?.mismatched ?? null,
    rows_compared: row?.rows_compared ? Number(row.rows_compared) : null,
    parked: row?.parked ?? null,
  };
}

const unmovedFrom = (state: State): Side | null =>
  state.phase === 'syncing' ? (state.unmoved?.from ?? null) : null;

function nextSteps(
  state: State,
  serving: Side | null,
  stopped: boolean,
  fence: string | null,
  runner: boolean,
): string[] {
  if (stopped || serving === null || fence === 'lapsed') return ['orchestrate run'];
  if (unmovedFrom(state) !== null) return [runner ? 'orchestrate status --watch' : 'orchestrate run'];
  switch (state.phase) {
    case 'created':
      return ['orchestrate preflight', 'orchestrate run'];
    case 'prepared':
    case 'copying':
    case 'building':
      return runner ? ['orchestrate status --watch'] : ['orchestrate run'];
    case 'syncing':
      return serving === 'blue'
        ? [...(runner ? [] : ['orchestrate run']), 'orchestrate cutover --dry-run']
        : [...(runner ? [] : ['orchestrate run']), 'orchestrate revert', 'orchestrate finalize'];
    case 'handing-over':
      return ['orchestrate run'];
    case 'aborting':
      return ['orchestrate abort'];
    case 'finalized':
    case 'aborted':
      return [];
  }
}

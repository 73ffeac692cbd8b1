import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { fencedTables, readFence } from '../../fence/fence.ts';
import { type HandoverKind, otherSide, type Side } from '../../pg/side.ts';
import type { Context } from '../../state/context.ts';
import { GATES } from '../../state/documents.ts';
import type { ApplierStatus } from '../../stream/applier.ts';
import { reverseReady } from '../../stream/reverse-setup.ts';
import { inspectSlot } from '../../stream/slot.ts';
import { sequencesKnown } from '../../verify/sequences.ts';
import { lockBlockers } from './blockers.ts';
import type { HandoverOptions } from './options.ts';
import type { Prediction } from './prediction.ts';

type GateName = (typeof GATES)[number];

/** A go/no-go condition of a handover. */
export interface Gate {
  readonly name: GateName;
  readonly passed: boolean;
  /** The number it was decided on. */
  readonly detail: string;
  /** What to do where it is not passed. */
  readonly fix: string;
}

/** What the gates are decided on, beside the two databases. */
export interface GateInput {
  readonly ctx: Context;
  readonly kind: HandoverKind;
  readonly serving: Side;
  readonly clients: Readonly<Record<Side, pg.Client>>;
  readonly applier: ApplierStatus;
  readonly delta: { readonly size: number; readonly lost: boolean };
  readonly sweep: { readonly ageSeconds: number; readonly clean: boolean; readonly void: boolean } | null;
  /** Changes of the source's and the target's definition since that sweep; empty is good. */
  readonly drift: () => Promise<readonly string[]>;
  readonly canary: () => Promise<number>;
  readonly prediction: Prediction;
  readonly options: HandoverOptions;
}

type Verdict = Omit<Gate, 'name'>;
type Check = (input: GateInput) => Promise<Verdict> | Verdict;

/** A transaction that holds a write lock on the tables for longer than this would hold the freeze up. */
const LINGER_MS = 500;

/** Transactions with a write lock on the fenced tables. Locks are visible to everybody; ages of strangers are not. */
const WRITERS = `
  SELECT DISTINCT k.pid, k.virtualtransaction AS transaction
  FROM pg_locks AS k
  WHERE k.locktype = 'relation' AND k.granted AND k.pid <> pg_backend_pid()
    AND k.relation = ANY (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS t(name))
    AND k.mode IN ('RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`;

/** An autovacuum on a table old enough that it may not be cancelled; its query text is hidden from us. */
const WRAPAROUND = `
  SELECT DISTINCT k.pid
  FROM pg_locks AS k
  JOIN pg_class AS c ON c.oid = k.relation
  JOIN pg_stat_activity AS a ON a.pid = k.pid
  WHERE k.granted AND k.mode = 'ShareUpdateExclusiveLock' AND a.usesysid IS NULL AND a.datid IS NOT NULL
    AND c.oid = ANY (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS t(name))
    AND age(c.relfrozenxid) > current_setting('autovacuum_freeze_max_age')::integer`;

async function lingeringWriters(client: pg.Client, tables: readonly string[]): Promise<number[]> {
  const look = async () => (await client.query<{ pid: number; transaction: string }>(WRITERS, [tables])).rows;
  const first = await look();
  if (first.length === 0) return [];
  await delay(LINGER_MS);
  const later = new Set((await look()).map((w) => w.transaction));
  return first.filter((w) => later.has(w.transaction)).map((w) => w.pid);
}

/** @returns those of the writers that `--terminate-blockers` could not end. */
async function notEndable(
  client: pg.Client,
  ctx: Context,
  serving: Side,
  writers: readonly number[],
): Promise<number[]> {
  if (writers.length === 0) return [];
  const blockers = await lockBlockers(client, fencedTables(ctx, serving));
  return writers.filter((pid) => blockers.some((b) => b.pid === pid && !b.endable));
}

const CHECKS: Readonly<Record<GateName, Check>> = {
  lag: ({ applier, options }) => ({
    passed: applier.lagBytes !== undefined && applier.lagBytes <= BigInt(options.maxLagBytes),
    detail:
      applier.lagBytes === undefined ? 'unknown' : `${applier.lagBytes} of ${options.maxLagBytes} bytes`,
    fix: 'wait for the sync to catch up: orchestrate status --watch',
  }),

  errors: ({ applier }) => ({
    passed: applier.connected && applier.error === undefined,
    detail: applier.error?.code ?? (applier.connected ? 'none' : 'the stream is not connected'),
    fix: 'orchestrate events',
  }),

  sweep: ({ sweep, options }) => ({
    passed: sweep?.clean === true && !sweep.void && sweep.ageSeconds * 1000 <= options.maxSweepAgeMs,
    detail:
      sweep === null
        ? 'none'
        : `${sweep.clean ? 'clean' : 'with differences'}${sweep.void ? ', voided' : ''}, ${Math.round(sweep.ageSeconds)} s old`,
    fix: 'orchestrate verify',
  }),

  delta: ({ delta }) => ({
    passed: !delta.lost,
    detail: delta.lost ? 'lost' : `${delta.size} keys`,
    fix: 'orchestrate verify',
  }),

  slot: async ({ ctx, clients, serving }) => {
    const own = await inspectSlot(clients[serving], ctx.names.slot[serving]);
    const standby = otherSide(serving);
    const back = await inspectSlot(clients[standby], ctx.names.slot[standby]);
    const healthy = (status: string | null | undefined) => status === 'reserved' || status === 'extended';
    return {
      passed:
        own !== null &&
        !own.lost &&
        healthy(own.walStatus) &&
        back !== null &&
        !back.lost &&
        healthy(back.walStatus),
      detail: `${serving} ${own?.walStatus ?? 'missing'}, ${standby} ${back?.walStatus ?? 'missing'}, ${standby} retains ${back?.retainedBytes ?? 0n} bytes`,
      fix: 'orchestrate status: raise max_slot_wal_keep_size, or abort when a slot is lost',
    };
  },

  catalog: async ({ drift }) => {
    const changes = await drift();
    return {
      passed: changes.length === 0,
      detail: changes.length === 0 ? 'unchanged since the sweep' : changes.join('; '),
      fix: 'orchestrate verify',
    };
  },

  fence: async ({ ctx, clients, serving }) => {
    const standby = otherSide(serving);
    const open = await readFence(clients[serving], ctx, serving);
    const closed = await readFence(clients[standby], ctx, standby);
    return {
      passed: (open.state === 'open' || open.state === 'lapsed') && closed.state === 'closed',
      detail: `${serving} ${open.state}, ${standby} ${closed.state}`,
      fix: 'somebody has changed the triggers named orchestrate_fence: end orchestrate run and start it again, it makes them anew',
    };
  },

  reverse: async ({ ctx, clients, serving }) => {
    return {
      ...(await reverseReady(ctx, otherSide(serving), clients)),
      fix: 'the runner makes them after the first clean sweep: orchestrate verify',
    };
  },

  canary: async ({ canary }) => {
    const seconds = await canary().catch(() => undefined);
    return {
      passed: seconds !== undefined,
      detail: seconds === undefined ? 'did not come back' : `${seconds.toFixed(3)} s`,
      fix: 'orchestrate events; check that the standby decodes its WAL',
    };
  },

  sequences: async ({ ctx, clients }) => {
    const unknown = await sequencesKnown(clients.blue, clients.green, ctx);
    return {
      passed: unknown.length === 0,
      detail: unknown.length === 0 ? 'all known' : `unknown: ${unknown.join(', ')}`,
      fix: 'give the id column its identity sequence back, or grant the sync role its owner',
    };
  },

  transactions: async ({ ctx, clients, serving, options }) => {
    const prepared = await clients[serving].query<{ gid: string }>(
      'SELECT gid::text FROM pg_prepared_xacts WHERE database = current_database()',
    );
    const writers = await lingeringWriters(clients[serving], fencedTables(ctx, serving));
    const left = options.terminateBlockers
      ? await notEndable(clients[serving], ctx, serving, writers)
      : writers;
    const found = [...prepared.rows.map((r) => `prepared ${r.gid}`), ...left.map((pid) => `pid ${pid}`)];
    if (found.length === 0 && writers.length > 0)
      return {
        passed: true,
        detail: `to be ended: ${writers.map((pid) => `pid ${pid}`).join(', ')}`,
        fix: '',
      };
    return {
      passed: found.length === 0,
      detail: found.length === 0 ? 'no writer stays open' : found.join(', '),
      fix: 'end them: COMMIT PREPARED, ROLLBACK PREPARED, pg_terminate_backend(pid) or --terminate-blockers',
    };
  },

  vacuum: async ({ ctx, clients, serving }) => {
    // The standby's tables are locked too, when it is armed.
    const found: string[] = [];
    for (const side of [serving, otherSide(serving)]) {
      const { rows } = await clients[side].query<{ pid: number }>(WRAPAROUND, [fencedTables(ctx, side)]);
      found.push(...rows.map((r) => `pid ${r.pid} on ${side}`));
    }
    return {
      passed: found.length === 0,
      detail: found.length === 0 ? 'no anti-wraparound vacuum' : found.join(', '),
      fix: 'let the anti-wraparound vacuum end: it never yields its lock',
    };
  },

  parked: async ({ clients, kind, options }) => {
    const { rows } = await clients.green.query<{ n: number }>(
      'SELECT count(*)::integer AS n FROM orchestrator.parked',
    );
    const parked = rows[0]?.n ?? 0;
    const accepted = options.acceptParked === 'all' || parked <= options.acceptParked;
    return {
      // On the way back every parked row is where it always was: on blue.
      passed: kind === 'revert' || accepted,
      detail: `${parked} parked, ${options.acceptParked} accepted`,
      fix: `give these rows a key of their own, or accept them: --accept-parked ${parked}`,
    };
  },

  budget: async ({ clients, serving, options }) => {
    const { rows } = await clients[serving].query<{ ms: string }>(
      `SELECT setting AS ms FROM pg_settings WHERE name = 'deadlock_timeout'`,
    );
    const least = 2 * Number(rows[0]?.ms ?? 1000);
    return {
      passed: options.budgetMs > least,
      detail: `${options.budgetMs} ms, more than ${least} ms needed`,
      fix: `--freeze-budget ${Math.ceil(least / 1000) + 1}s`,
    };
  },

  freeze: ({ prediction, options }) => ({
    passed: prediction.freezeMs <= options.budgetMs,
    detail: `predicted ${Math.round(prediction.freezeMs)} of ${options.budgetMs} ms`,
    fix: 'a larger --freeze-budget, or orchestrate verify first: it empties the delta',
  }),
};

/** @returns every gate in the order of DESIGN 7; a check that cannot be made is a gate that is not passed. */
export async function readGates(input: GateInput): Promise<Gate[]> {
  const gates: Gate[] = [];
  for (const name of GATES) {
    const verdict = await Promise.resolve()
      .then(() => CHECKS[name](input))
      .catch(
        (error: unknown): Verdict => ({
          passed: false,
          detail: `could not be checked (${(error as { code?: string }).code ?? 'error'})`,
          fix: 'orchestrate status',
        }),
      );
    gates.push({ name, ...verdict });
    input.ctx.metrics.set('gate_passed', { gate: name }, verdict.passed ? 1 : 0);
  }
  return gates;
}

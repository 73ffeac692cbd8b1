import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { fencedTables } from '../fence/fence.ts';
import { connect, cut, endOrCut } from '../pg/connect.ts';
import { formatLsn, parseLsn } from '../pg/lsn.ts';
import { type HandoverKind, handoverFrom, otherSide, type Side } from '../pg/side.ts';
import { commit } from '../pg/transaction.ts';
import type { Context } from '../state/context.ts';
import type { Applier } from '../stream/applier.ts';
import { identify } from '../stream/slot.ts';
import { taskOf } from '../traffic/driver.ts';
import { keyComparison } from '../verify/compare-keys.ts';
import { alignSequences } from '../verify/sequences.ts';
import { awaitPhysicalStandbys, decide, hasPhysicalStandbys, marginMs } from './handover/decide.ts';
import { freeze, serverClock } from './handover/freeze.ts';
import { arm } from './handover/open.ts';
import type { HandoverOptions } from './handover/options.ts';
import type { Steps } from './handover/steps.ts';
import { vacuumWaitMs, yieldVacuums } from './handover/vacuum.ts';

/** What one attempt works with. */
export interface Attempt {
  readonly ctx: Context;
  readonly id: string;
  readonly serving: Side;
  readonly kind: HandoverKind;
  readonly applier: Applier;
  readonly options: HandoverOptions;
  readonly steps: Steps;
  /** Control sessions of the runner, for reading. */
  readonly clients: Readonly<Record<Side, pg.Client>>;
  /** What changed in the tables' definitions since the clean sweep, asked on these sessions. */
  readonly drift: (clients: Readonly<Record<Side, pg.Client>>) => Promise<readonly string[]>;
  /** Called when little is left to be done but the handover itself, shortly before the clients are paused. */
  readonly ready: () => Promise<void>;
  /** Told right before the clients are paused and writes refused. */
  readonly freezing: () => void;
  /** Ends whatever else reads or moves the standby's slot. */
  readonly stopRetention: () => Promise<void>;
  /** Whether the operator has asked to stop; asked before the clients are paused, and for the last time before decide. */
  readonly cancelled: () => Promise<boolean>;
  /** Told when S has answered that the decision is committed. */
  readonly decided: () => void;
}

/** How long after the budget an answer of either side is waited for. */
const HUNG_MS = 5_000;

/** How an attempt ended, as far as it got by itself. */
export type AttemptResult =
  | { readonly outcome: 'decided'; readonly freezeSeconds: number; readonly position: string }
  | { readonly outcome: 'rehearsed'; readonly freezeSeconds: number };

const lostDelta = (serving: Side): Error =>
  failure('GATES_CLOSED', { expected: 'a delta', found: 'a lost one', serving });

/** @param ms milliseconds since 1970. @returns the time of day, in UTC. */
const moment = (ms: number): string => new Date(ms).toISOString().slice(11, 23);

/** @returns the attempt's id and kind for a handover away from `serving`. */
export function newAttempt(serving: Side): { id: string; kind: HandoverKind } {
  return { id: randomUUID(), kind: handoverFrom(serving) };
}

/**
 * Steps 2 to 9 of the handover (DESIGN 7), from the serving side S to the standby T. Gates (1) come before, switch and
 * reverse (10, 11) after it.
 *
 * Whatever it throws, nothing is undone here: the caller takes the next epoch on both sides, so that no statement of
 * this attempt can land any more, and `recover` then reads what is true and reopens S or finishes opening T.
 */
export async function attemptHandover(a: Attempt): Promise<AttemptResult> {
  const { ctx, serving: S, kind, options, steps, applier } = a;
  const T = otherSide(S);
  const claim = ctx.claim();
  // Sessions of their own: they hold locks, and must die quickly when we do.
  const s = await connect(ctx.endpoints[S], {
    purpose: 'handover',
    shortKeepalive: true,
    settings: { statement_timeout: `${options.budgetMs}ms` },
  });
  const t = await connect(ctx.endpoints[T], {
    purpose: 'handover',
    shortKeepalive: true,
    settings: {
      statement_timeout: `${options.budgetMs}ms`,
      idle_in_transaction_session_timeout: `${options.budgetMs + HUNG_MS}ms`,
    },
  }).catch(async (error: unknown) => {
    await endOrCut([s]);
    throw error;
  });
  const stop = new AbortController();
  try {
    const comparison = await keyComparison(ctx, a.clients, S);
    const sessions = S === 'blue' ? { blue: s, green: t } : { blue: t, green: s };
    // Once before it counts: what these sessions have to read of the catalogs they have read when writes are refused.
    const aligned = async (): Promise<readonly string[]> => {
      await alignSequences(sessions.blue, sessions.green, ctx);
      return a.drift(sessions);
    };
    await aligned();
    // Late, for every moment from here on adds keys that the freeze has to compare.
    await a.ready();
    await Promise.all([yieldVacuums(s, fencedTables(ctx, S)), yieldVacuums(t, fencedTables(ctx, T))]);
    // One that began since.
    const lockWaitMs = { s: await vacuumWaitMs(s), t: await vacuumWaitMs(t) };
    const followed = await hasPhysicalStandbys(s);
    const touched = applier.delta.keys();
    if (touched === 'lost') throw lostDelta(S);
    await comparison.warm(touched);
    if (await a.cancelled()) throw failure('INTERRUPTED', { serving: S });
    // The clients' pause counts towards the budget.
    const deadline = (await serverClock(s)) + options.budgetMs / 1000;
    // All of this has taken its time: clients are not paused for an attempt that has ended already.
    ctx.signal.throwIfAborted();
    const task = taskOf(ctx.names.migration, { attempt: a.id, from: S }, deadline);
    const clock = performance.now();
    const remainingMs = () => options.budgetMs - (performance.now() - clock);
    const timer = setTimeout(
      () =>
        stop.abort(
          failure('HANDOVER_ABORTED', {
            expected: `the freeze within ${options.budgetMs} ms`,
            found: 'more',
            serving: S,
          }),
        ),
      options.budgetMs - marginMs(options.budgetMs),
    );
    // An answer that has not come by now never will: its outcome is unknown, and the caller finds out what is true.
    const cutBoth = () => {
      cut(s);
      cut(t);
    };
    const hung = setTimeout(cutBoth, options.budgetMs + HUNG_MS);
    ctx.signal.addEventListener('abort', cutBoth, { once: true });
    try {
      a.freezing();
      await steps.run('pause', () => options.traffic.pause(task));

      const frozenAt = performance.now();
      const drained = applier.waitForMessage(`barrier:${a.id}`, stop.signal);
      drained.catch(() => {});
      const frozen = await steps.run(
        'freeze',
        () =>
          freeze(s, ctx, S, a.id, deadline, deadline - options.budgetMs / 2000, options.terminateBlockers),
        (f) => `frozen ${moment(f.at * 1000)}`,
      );
      const heldSince = performance.now();

      await steps.run(
        'drain',
        () => drained,
        (lsn) => formatLsn(lsn),
      );

      // All there is has been applied. What step 6 waits for, the ends of sessions, passes while step 5 compares.
      const stopped = Promise.all([applier.stop(stop.signal), a.stopRetention()]);
      stopped.catch(() => {});
      await steps.run(
        'verify',
        async () => {
          const keys = applier.delta.keys();
          if (keys === 'lost') throw lostDelta(S);
          // Sequences never lower, whatever becomes of the handover; they are set on sessions that are idle meanwhile.
          const [changed, mismatches] = await Promise.all([
            aligned(),
            comparison.differences(keys, stop.signal),
          ]);
          if (changed.length > 0)
            throw failure('SCHEMA_CHANGED', {
              expected: 'the definitions of the last sweep',
              found: changed.join('; '),
              serving: S,
            });
          if (mismatches.length > 0)
            throw failure('DIFFERENCES', {
              expected: 'no differences among the keys changed since the sweep',
              found: mismatches
                .slice(0, 20)
                .map((m) => `${m.table} ${m.key} ${m.kind}`)
                .join(', '),
              serving: S,
            });
          return keys.size;
        },
        (size) => `${size} keys, sequences`,
      );

      const back = await steps.run(
        'stop',
        async () => {
          await stopped;
          const identity = await identify(t);
          return {
            systemIdentifier: identity.systemIdentifier,
            timeline: identity.timeline,
            slot: ctx.names.slot[T],
            position: identity.flushedLsn,
          };
        },
        (b) => `position ${formatLsn(b.position)}`,
      );
      const position = formatLsn(back.position);

      await steps.run('arm', async () => {
        await t.query('BEGIN');
        await arm(t, ctx, T, claim.generation, position, Math.min(lockWaitMs.t, remainingMs() / 2));
      });
      if (options.rehearse) {
        await t.query('ROLLBACK');
        return { outcome: 'rehearsed', freezeSeconds: (performance.now() - frozenAt) / 1000 };
      }

      if (await a.cancelled()) throw failure('INTERRUPTED', { serving: S });
      await steps.run('decide', async () => {
        await decide(
          s,
          ctx,
          S,
          kind,
          a.id,
          frozen,
          back,
          options.budgetMs,
          Math.min(lockWaitMs.s, Math.max(50, remainingMs() / 2)),
        );
        // Also without the lease: T's epoch row is locked until its opening has ended.
        ctx.signal.removeEventListener('abort', cutBoth);
        a.decided();
      });

      // Forward only from here on.
      options.traffic.decided();
      await steps.run(
        'open',
        async () => {
          // S that is gone comes back with its decision, unless a standby that has not heard of it takes its place.
          await awaitPhysicalStandbys(s, 2_000).catch((error: unknown) => {
            if (followed) throw error;
          });
          await failpoint('commit.before');
          await commit(t);
        },
        // On the clock of the freeze, which is S's.
        () => `writes on ${T} ${moment(frozen.at * 1000 + performance.now() - heldSince)}`,
      );
      return {
        outcome: 'decided',
        freezeSeconds: (performance.now() - frozenAt) / 1000,
        position: formatLsn(parseLsn(position)),
      };
    } finally {
      clearTimeout(timer);
      clearTimeout(hung);
      ctx.signal.removeEventListener('abort', cutBoth);
    }
  } finally {
    stop.abort();
    // Ending T's session rolls an armed opening back before anybody waits for its locks.
    await endOrCut([t, s]);
  }
}

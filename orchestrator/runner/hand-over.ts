import { performance } from 'node:perf_hooks';
import { asFailure } from '../errors/as-failure.ts';
import { failpoint } from '../errors/failpoint.ts';
import { failure, hasCode, OrchestrateError } from '../errors/failure.ts';
import { directionFrom, otherSide, type Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import type { HandoverOptions } from '../phases/handover/options.ts';
import { Steps } from '../phases/handover/steps.ts';
import { type AttemptResult, attemptHandover, newAttempt } from '../phases/handover.ts';
import { holdClaim } from '../state/claim.ts';
import { type HandoverDocument, STEP_EVENT, STEPS } from '../state/documents.ts';
import { changeState } from '../state/store.ts';
import { notRevertible } from '../stream/not-revertible.ts';
import { taskOf } from '../traffic/driver.ts';
import { drift } from '../verify/last-sweep.ts';
import { gatesOf, judged, optionsOf, shrinkBefore } from './judge.ts';
import { moveClients, stepDeadline } from './move-clients.ts';
import { type ClaimedRequest, isCancelled, type Outcome } from './requests.ts';
import type { Runner } from './runner.ts';

/**
 * A `cutover` or `revert` from its gates to its certificate, and every way it can end (DESIGN 7): `no-go` 3,
 * `dry-run` 0, `rehearsed` 0, `aborted` 5 with the serving side unchanged, `done` 0, `unfinished` 6.
 */
export async function handOver(
  runner: Runner,
  request: Extract<ClaimedRequest, { command: 'cutover' | 'revert' }>,
): Promise<Outcome> {
  const sync = runner.sync;
  if (!sync) throw failure('WRONG_PHASE', { expected: 'syncing', found: 'no stream' });
  const { ctx } = runner;
  const from = sync.serving;
  const to = otherSide(from);
  const options = optionsOf(runner.settings, request.options);
  const { id, kind } = newAttempt(from);
  const pending: Promise<void>[] = [];
  const steps = new Steps((step) => {
    ctx.metrics.set('handover_step_duration_seconds', { kind, step: step.step }, step.seconds);
    // Told to whoever follows; nothing of ours waits for it while writes are refused.
    pending.push(ctx.journal(STEP_EVENT, { request: request.id, ...step }).catch(() => {}));
  });
  const rehearsal = options.rehearse ? { rehearsal: true } : {};
  const document = (
    more: Partial<HandoverDocument> & Pick<HandoverDocument, 'outcome'>,
  ): HandoverDocument => ({
    kind,
    serving: from,
    freeze_seconds: null,
    budget_seconds: options.budgetMs / 1000,
    steps: steps.done,
    certificate: null,
    next_steps: [],
    ...more,
  });

  const { gates, prediction, swept } = await steps.run(
    'gates',
    () => gatesOf(runner, options),
    ({ gates: all }) => `${all.filter((g) => g.passed).length}/${all.length}`,
    ({ gates: all }) => all.every((g) => g.passed),
  );
  const facts = { gates: judged(gates), predicted_seconds: prediction.freezeMs / 1000 };
  const closed: { name: string; detail: string; fix: string }[] = gates.filter((g) => !g.passed);
  if (closed.length === 0) closed.push(...(await trafficClosed(runner, options, { attempt: id, from })));
  if (closed.length > 0) {
    await count(runner, kind, 'no-go', id, { ...rehearsal, gates: closed.map((g) => g.name) });
    const error = failure('GATES_CLOSED', {
      message: `${kind} is a no-go: ${closed.map((g) => `${g.name} (${g.detail})`).join(', ')}`,
      expected: 'every gate passed',
      found: closed.map((g) => g.name).join(', '),
      fix: closed[0]?.fix ?? 'orchestrate status',
      serving: from,
    });
    return {
      exit: 3,
      document: document({
        outcome: 'no-go',
        ...facts,
        error: error.toDocument(),
        next_steps: ['orchestrate status', `orchestrate ${kind} --dry-run`],
      }),
    };
  }
  const revertFacts =
    kind === 'revert'
      ? {
          not_revertible: (await notRevertible(runner.control.clients.green, ctx)).map((f) => ({
            what: f.kind,
            rows: f.count,
          })),
        }
      : {};
  if (options.dryRun)
    return {
      exit: 0,
      document: document({
        outcome: 'dry-run',
        ...facts,
        predicted_steps: STEPS.flatMap((step) => {
          const ms = prediction.partsMs[step];
          return ms === undefined ? [] : [{ step, seconds: ms / 1000 }];
        }),
        ...revertFacts,
        next_steps: [`orchestrate ${kind}`],
      }),
    };

  const { state } = await runner.state();
  const stillUnmoved = state.phase === 'syncing' ? state.unmoved : undefined;
  await changeState(
    runner.control.clients.green,
    ctx.claim(),
    {
      phase: 'handing-over',
      madeOrgTables: 'madeOrgTables' in state && state.madeOrgTables,
      serving: from,
      kind,
      attempt: id,
      driver: options.traffic.name,
      ...(stillUnmoved ? { unmoved: stillUnmoved } : {}),
    },
    { request: request.id, attempt: id, kind },
  );
  let result: AttemptResult | undefined;
  let broken: unknown;
  try {
    result = await attemptHandover({
      ctx,
      id,
      serving: from,
      kind,
      applier: sync.applier,
      options,
      steps,
      clients: runner.control.clients,
      drift: (clients) => drift(ctx, clients),
      // Gates and lists have taken their time: what was written meanwhile is looked at now, and not in the freeze.
      ready: () => shrinkBefore(runner),
      freezing: () => {
        ctx.metrics.set('freeze_start_timestamp_seconds', {}, Date.now() / 1000);
        ctx.metrics.set('freeze_active', {}, 1);
      },
      stopRetention: () => sync.stopRetention(),
      // A signal that comes now waits for the clients to be moved and the way back to run.
      decided: () => runner.ending.hold(),
      cancelled: () =>
        request.id === '0' ? Promise.resolve(false) : isCancelled(runner.control.clients.green, request.id),
    });
  } catch (error) {
    broken = error;
  }
  // One way out of every ending: the next epoch, then the truth. After a decision this opens what is still closed.
  // The stream that is still of the old epoch would meet the new one and take it for another runner's.
  if (broken) await sync.giveUp();
  let truth: Awaited<ReturnType<Runner['takeStock']>>;
  try {
    truth = await runner.takeStock();
  } catch (cause) {
    const decided = result?.outcome === 'decided' ? result : undefined;
    const error = failure('HANDOVER_UNFINISHED', {
      message: decided ? `${to} serves, and the rest waits` : 'it is not known yet who serves',
      expected: 'both sides to answer',
      found: known(cause, from).message,
      serving: decided && to,
      cause,
    });
    const unfinished = document({
      outcome: 'unfinished',
      ...facts,
      ...(decided ? { serving: to, freeze_seconds: decided.freezeSeconds } : {}),
      error: error.toDocument(),
      next_steps: ['orchestrate run'],
    });
    return { exit: 6, document: unfinished };
  }
  const takenAt = performance.now();
  ctx.metrics.set('freeze_active', {}, 0);
  await Promise.all(pending.splice(0));
  const task = taskOf(ctx.names.migration, { attempt: id, from }, stepDeadline());

  if (truth.serving === from) {
    await options.traffic.undo(task).catch((error: unknown) => {
      broken ??= error;
    });
    await runner.becomeSyncing(
      from,
      { request: request.id, attempt: id, outcome: result?.outcome ?? 'aborted' },
      stillUnmoved,
    );
    // What broke the attempt may be in the stream's way too: the answer does not wait for it.
    await runner.restartSync(from).catch((error: unknown) => {
      if (!broken || hasCode(error, 'STALE_EPOCH')) throw error;
      ctx.log.warn({ code: asFailure(error).code }, 'the stream does not run again yet');
    });
    if (result?.outcome === 'rehearsed') {
      ctx.metrics.observe('freeze_duration_seconds', { kind: 'rehearsal' }, result.freezeSeconds);
      await count(runner, kind, 'rehearsed', id, { ...rehearsal, freeze_seconds: result.freezeSeconds });
      return {
        exit: 0,
        document: document({
          outcome: 'rehearsed',
          ...facts,
          freeze_seconds: result.freezeSeconds,
          next_steps: [`orchestrate ${kind}`],
        }),
      };
    }
    const error = known(broken, from);
    await count(runner, kind, 'aborted', id, { ...rehearsal, code: error.code });
    return {
      exit: error.code === 'INTERRUPTED' ? 130 : 5,
      document: document({
        outcome: 'aborted',
        ...facts,
        freeze_seconds: refusedSeconds(steps, truth.did === 'reopened', options.budgetMs, takenAt),
        error: error.toDocument(from),
        next_steps: ['orchestrate status', `orchestrate ${kind}`],
      }),
    };
  }

  const freezeSeconds = result?.freezeSeconds ?? (takenAt - (steps.begun.get('freeze') ?? takenAt)) / 1000;
  ctx.metrics.observe('freeze_duration_seconds', { kind }, freezeSeconds);
  let certificate: HandoverDocument['certificate'] = null;
  try {
    // Until the clients are moved the state says so: a runner that comes after a death moves them (HISTORIES 22).
    const switched = steps.run('switch', async () => {
      await failpoint('switch.before');
      await moveClients(ctx, runner.control.clients.green, options.traffic, task);
    });
    const unmoved = await switched.then(() => undefined, asFailure);
    await runner.becomeSyncing(
      to,
      { request: request.id, attempt: id, outcome: 'done' },
      unmoved && { attempt: id, from },
    );
    await steps.run('reverse', () => turnSyncRound(runner, to));
    certificate = await certify(runner, kind, id, {
      ...swept,
      freeze_seconds: freezeSeconds,
      steps: steps.done,
      gates: facts.gates,
    });
    // The way back runs, whatever became of the clients.
    if (unmoved) throw unmoved;
    await count(runner, kind, 'done', id, { freeze_seconds: freezeSeconds });
    return {
      exit: 0,
      document: document({
        outcome: 'done',
        serving: to,
        ...facts,
        ...revertFacts,
        freeze_seconds: freezeSeconds,
        certificate,
        next_steps: [
          'orchestrate status --watch',
          `orchestrate ${kind === 'cutover' ? 'revert' : 'cutover'}`,
          'orchestrate finalize (after the soak)',
        ],
      }),
    };
  } catch (cause) {
    // Decided and open: nothing is taken back. What is left is finished by the runner, or by the next one.
    // A runner inside a command is gone when this is read.
    const next = runner.mayCopy ? 'orchestrate status --watch' : 'orchestrate run';
    const error = failure('HANDOVER_UNFINISHED', {
      message: `${to} serves, but ${steps.done.findLast((s) => !s.ok)?.step ?? 'a step'} failed`,
      found: told(known(cause, to)),
      fix: `${next}: it is tried again until it is done`,
      serving: to,
      cause,
    });
    await count(runner, kind, 'unfinished', id, {});
    return {
      exit: 6,
      document: document({
        outcome: 'unfinished',
        serving: to,
        ...facts,
        freeze_seconds: freezeSeconds,
        certificate,
        error: error.toDocument(to),
        next_steps: [next],
      }),
    };
  } finally {
    await Promise.all(pending);
  }
}

/**
 * For how long an attempt that was not decided refused writes: to when they were given back, at most to the deadline.
 * @returns null when it never came to a freeze.
 */
function refusedSeconds(steps: Steps, reopened: boolean, budgetMs: number, until: number): number | null {
  const began = steps.begun.get('freeze');
  const granted = reopened || steps.done.some((s) => s.step === 'freeze' && s.ok);
  if (began === undefined || !granted) return null;
  const deadline = (steps.begun.get('pause') ?? began) + budgetMs;
  return Math.max(0, Math.min(until, deadline) - began) / 1000;
}

/** Step 11: the stream T→S starts at L, and a message written on T arrives on S through it. */
async function turnSyncRound(runner: Runner, serving: Side): Promise<void> {
  const { ctx } = runner;
  const sync = await runner.restartSync(serving);
  const limit = AbortSignal.any([ctx.signal, AbortSignal.timeout(30_000)]);
  const content = `round:${ctx.claim().generation}:${Date.now()}`;
  const arrived = sync.applier.waitForMessage(content, limit);
  arrived.catch(() => {});
  await runner.control.clients[serving].query('SELECT pg_logical_emit_message(true, $1, $2)', [
    ctx.names.messagePrefix,
    content,
  ]);
  await arrived;
}

async function certify(
  runner: Runner,
  kind: 'cutover' | 'revert',
  attempt: string,
  facts: Readonly<Record<string, unknown>>,
): Promise<Readonly<Record<string, unknown>>> {
  const { ctx } = runner;
  const green = runner.control.clients.green;
  const claim = ctx.claim();
  const body = {
    migration: claim.migration,
    kind,
    attempt,
    generation: Number(claim.generation),
    direction: directionFrom(kind === 'cutover' ? 'green' : 'blue'),
    ...facts,
  };
  await transaction(green, async () => {
    await holdClaim(green, claim);
    await green.query(
      `INSERT INTO orchestrator.certificate (generation, kind, body) VALUES ($1, $2, $3::jsonb)
       ON CONFLICT (generation) DO UPDATE SET body = excluded.body`,
      [claim.generation.toString(), kind, JSON.stringify(body)],
    );
  });
  return body;
}

/** Step 1 asks the driver too: whether it can move the clients is found out while they are all well. */
async function trafficClosed(
  { ctx }: Runner,
  { traffic, budgetMs }: HandoverOptions,
  attempt: { attempt: string; from: Side },
): Promise<{ name: 'traffic'; detail: string; fix: string }[]> {
  const task = taskOf(ctx.names.migration, attempt, (Date.now() + budgetMs) / 1000);
  try {
    for (const warning of await traffic.check(task)) ctx.log.warn({ driver: traffic.name }, warning);
    return [];
  } catch (error) {
    const { message, found } = asFailure(error).toDocument();
    return [
      { name: 'traffic', detail: `${message}: ${found}`, fix: `make the check of ${traffic.name} pass` },
    ];
  }
}

async function count(
  runner: Runner,
  kind: 'cutover' | 'revert',
  outcome: string,
  attempt: string,
  detail: Readonly<Record<string, unknown>>,
): Promise<void> {
  runner.metrics.add('handover_attempts_total', { kind, outcome }, 1);
  if (detail['rehearsal'] === true)
    runner.metrics.set('rehearsal_last_timestamp_seconds', { outcome }, Date.now() / 1000);
  await runner.ctx.journal('handover', { attempt, kind, outcome, ...detail }).catch(() => {});
}

/** What broke an attempt, as an error that says so: of a server's own error only its SQLSTATE is told. */
const told = ({ message, detail }: OrchestrateError): string =>
  detail.found === undefined ? message : `${message}: ${detail.found}`;

function known(error: unknown, serving: Side): OrchestrateError {
  if (error instanceof OrchestrateError) return error;
  return failure('HANDOVER_ABORTED', {
    found: asFailure(error).detail.found ?? 'an unknown error',
    serving,
    cause: error,
  });
}

import { asFailure } from '../errors/as-failure.ts';
import { failure, type OrchestrateError } from '../errors/failure.ts';
import { handoverFrom } from '../pg/side.ts';
import { abort } from '../phases/abort.ts';
import { readEnding } from '../phases/control.ts';
import { finalize } from '../phases/finalize.ts';
import type { PauseDocument, VerifyDocument } from '../state/documents.ts';
import type { Phase } from '../state/state.ts';
import { setPaused } from '../state/store.ts';
import { repair } from '../verify/repair.ts';
import { handOver } from './hand-over.ts';
import { announceOutcome, type ClaimedRequest, finishRequest, type Outcome } from './requests.ts';
import type { Runner } from './runner.ts';

/** The phases in which a command has a meaning; everywhere else it is answered with WRONG_PHASE, exit 3. */
const MEANINGFUL: Readonly<Record<ClaimedRequest['command'], readonly Phase[]>> = {
  verify: ['syncing'],
  cutover: ['syncing'],
  revert: ['syncing'],
  finalize: ['syncing'],
  abort: ['created', 'prepared', 'copying', 'building', 'syncing', 'aborting'],
  pause: ['prepared', 'copying', 'building', 'syncing'],
  resume: ['prepared', 'copying', 'building', 'syncing'],
};

/**
 * Carries one request out and stores what became of it. A request that fails is answered, and only errors that end
 * the runner too (a lost lease, a lost connection) are thrown after that.
 */
export async function answer(runner: Runner, request: ClaimedRequest): Promise<Outcome> {
  const { state } = await runner.state();
  const { reason } = request.options;
  await runner.ctx.journal('request', {
    request: request.id,
    command: request.command,
    phase: state.phase,
    ...(reason === undefined ? {} : { reason }),
    ...(request.by === undefined ? {} : { asked_by: request.by }),
  });
  let outcome: Outcome;
  let ends: OrchestrateError | undefined;
  try {
    if (!MEANINGFUL[request.command].includes(state.phase))
      throw failure('WRONG_PHASE', {
        message: `${request.command} has no meaning while the migration is ${state.phase}`,
        expected: MEANINGFUL[request.command].join(' or '),
        found: state.phase,
      });
    await refuseWhileEnding(runner, request);
    outcome = await carryOut(runner, request);
  } catch (error) {
    const known = asFailure(error);
    outcome = { exit: known.entry.exit, document: { error: known.toDocument(runner.sync?.serving) } };
    if (runner.lease.signal.aborted || known.code === 'STALE_EPOCH') ends = known;
  }
  if (request.id !== '0')
    await (runner.controlGone
      ? announceOutcome(runner.control.clients.green, request.id, outcome)
      : finishRequest(runner.control.clients.green, request.id, outcome)
    ).catch((error: unknown) => {
      ends ??= asFailure(error);
    });
  if (ends) throw ends;
  return outcome;
}

/** A finalize that was begun has taken things away already: nothing but its own end is left to ask for. */
async function refuseWhileEnding({ control }: Runner, { command }: ClaimedRequest): Promise<void> {
  if (command === 'finalize' || command === 'abort') return;
  if ((await readEnding(control.clients.green)) !== 'finalizing') return;
  throw failure('WRONG_PHASE', {
    message: `${command} has no meaning once a finalize has begun`,
    expected: 'no finalize under way',
    found: 'one that has not ended',
    fix: 'orchestrate finalize',
  });
}

async function carryOut(runner: Runner, request: ClaimedRequest): Promise<Outcome> {
  switch (request.command) {
    case 'verify':
      return verify(runner, request.options.repair);
    case 'cutover':
    case 'revert': {
      const serving = runner.sync?.serving;
      if (serving && handoverFrom(serving) !== request.command)
        throw failure('WRONG_PHASE', {
          message: `${request.command} has no meaning while ${serving} serves`,
          expected: `${request.command === 'cutover' ? 'blue' : 'green'} serves`,
          found: `${serving} serves`,
          serving,
        });
      return handOver(runner, request).finally(() => runner.ending.release());
    }
    case 'finalize': {
      const result = await finalize(runner.ctx, {
        ...request.options,
        beforeRemoval: () => runner.endSync(runner.ctx.signal),
      });
      runner.controlGone = result.exit === 0 && !request.options.keepControl;
      return result;
    }
    case 'abort': {
      // Refused before anything is touched: the stream goes on.
      if (runner.ctx.claim().generation > 0n)
        throw failure('WRONG_PHASE', {
          message: 'abort has no meaning once a handover has been decided',
          expected: 'no decision',
          found: `generation ${runner.ctx.claim().generation}`,
          fix: 'orchestrate revert, or orchestrate finalize',
          serving: runner.sync?.serving,
        });
      await runner.endSync(runner.ctx.signal);
      const result = await abort(runner.ctx);
      runner.controlGone = result.exit === 0;
      return result;
    }
    case 'pause':
    case 'resume': {
      runner.paused = request.command === 'pause';
      await setPaused(runner.control.clients.green, runner.ctx.claim(), runner.paused);
      const { state } = await runner.state();
      const document: PauseDocument = { paused: runner.paused, phase: state.phase };
      return { exit: 0, document };
    }
  }
}

/** Always a new sweep; with `repair`, the named keys are derived anew from the serving side and swept once more. */
async function verify(runner: Runner, repairing: boolean): Promise<Outcome> {
  const sync = runner.sync;
  if (!sync) throw failure('WRONG_PHASE', { expected: 'syncing', found: 'no stream' });
  let result: VerifyDocument = await runner.sweeps.now();
  if (!result.clean && repairing) {
    const repaired = await repair(runner.ctx, sync.applier, result.mismatches, sync.serving);
    result = { ...(await runner.sweeps.now()), repaired };
  }
  if (result.clean) {
    if (sync.serving === 'blue') await runner.armReverse();
    return { exit: 0, document: result };
  }
  const error = failure('DIFFERENCES', {
    expected: 'no differences',
    found: `${result.mismatches.length} differences`,
    serving: sync.serving,
  });
  return { exit: 3, document: { ...result, error: error.toDocument() } };
}

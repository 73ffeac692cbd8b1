import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import { failure, hasCode } from '../errors/failure.ts';
import { connect } from '../pg/connect.ts';
import { label } from '../pg/endpoint.ts';
import type { Context } from '../state/context.ts';
import type { EndDocument } from '../state/documents.ts';
import { appendJournal } from '../state/journal.ts';
import { changeState, hasControl, readDecision, readSide, readState } from '../state/store.ts';
import { undoBlue, undoGreen } from './abort/undo.ts';
import { dropControl } from './control.ts';
import { endingRight } from './ending-right.ts';

/** The exit code and the JSON document of a command that ends a migration. */
export interface Ended {
  readonly exit: 0 | 6;
  readonly document: EndDocument;
}

/**
 * Undoes everything before the first decision (DESIGN 5.7); blue stays in service throughout, and is reopened first.
 *
 * Works from blue alone: while blue has no decision, no handover has taken place, whatever has become of green. What
 * marks the abort is blue's own row, so whoever comes after a death goes on with it. Blue's control schema goes last:
 * as long as it is there, something may be left.
 *
 * | blue's schema | green's schema | what follows |
 * |---|---|---|
 * | there | there | (1) mark, blue, green, green's schema, blue's schema |
 * | there | none | (2) died after green was clean: blue, blue's schema |
 * | there | unreachable | (3) mark, blue; stay `aborting`, exit 6 |
 * | none | there | (4) green was never used: green's schema |
 * | none | none | (5) nothing was begun, or all is done |
 *
 * @throws OrchestrateError WRONG_PHASE after a decision; LEASE_HELD when another runner is at work; CANNOT_CONNECT
 *   when blue cannot be reached; LOCK_TIMEOUT. It can be repeated after each of them.
 */
export async function abort(ctx: Context): Promise<Ended> {
  const blue = await connect(ctx.endpoints.blue, { purpose: 'abort', shortKeepalive: true });
  const green = await reach(ctx);
  try {
    const right = await endingRight(ctx, green ? [green, blue] : [blue]);
    const own: Context = { ...ctx, claim: () => right };
    if (await hasControl(blue)) {
      await refuseDecided(own, blue);
      await failpoint('aborting.before');
      await mark(own, blue);
      await failpoint('aborting.after');
      await undoBlue(own, blue);
    } else if (green) await refuseDecided(own, green); // (4)

    if (!green) return unfinished(ctx); // (3)
    if (await hasControl(green)) {
      await markGreen(own, green);
      await undoGreen(own, green);
      await failpoint('control-green.before');
      await dropControl(own, green, 'green');
      await failpoint('control-green.after');
    }
    await dropControl(own, blue, 'blue');
    await failpoint('aborted.after');
    return {
      exit: 0,
      document: {
        outcome: 'done',
        phase: 'aborted',
        serving: 'blue',
        left: [],
        next_steps: ['orchestrate run'],
      },
    };
  } finally {
    await blue.end().catch(() => {});
    await green?.end().catch(() => {});
  }
}

/** @returns a session on green, or null when it cannot be reached; a refused login is an error as everywhere. */
async function reach(ctx: Context): Promise<pg.Client | null> {
  try {
    return await connect(ctx.endpoints.green, { purpose: 'abort' });
  } catch (error) {
    if (hasCode(error, 'CANNOT_CONNECT')) return null;
    throw error;
  }
}

async function refuseDecided(ctx: Context, client: pg.Client): Promise<void> {
  const row = await readSide(client, ctx.names.migration);
  if (!row) return;
  const decision = await readDecision(client);
  if (row.generation > 0n || decision)
    throw failure('WRONG_PHASE', {
      message: 'a handover has been decided: there is no abort any more',
      expected: 'no decision',
      found: `generation ${row.generation}`,
      fix: 'orchestrate status; then orchestrate revert, or orchestrate finalize',
    });
}

const MARK = `
  UPDATE orchestrator.side AS s
  SET ending = 'aborting'
  WHERE s.migration = $1 AND s.epoch = $2 AND s.generation = 0
    AND s.ending IS DISTINCT FROM 'finalizing'
    AND NOT EXISTS (SELECT FROM orchestrator.decision)`;

/** A compare-and-set on the row that a decision has to lock too: one of the two comes first (I10). */
async function mark(ctx: Context, client: pg.Client): Promise<void> {
  const { rowCount } = await client.query(MARK, [ctx.names.migration, ctx.claim().epoch.toString()]);
  if (rowCount !== 1)
    throw failure('STALE_EPOCH', {
      expected: `epoch ${ctx.claim().epoch}, no decision and no finalize under way`,
      found: 'something else',
    });
}

async function markGreen(ctx: Context, green: pg.Client): Promise<void> {
  await mark(ctx, green);
  const { state } = await readState(green, ctx.names.migration);
  const madeOrgTables = 'madeOrgTables' in state && state.madeOrgTables;
  if (state.phase === 'aborting') await appendJournal(green, ctx.claim(), 'aborting', { again: true });
  else await changeState(green, ctx.claim(), { phase: 'aborting', madeOrgTables, left: [] });
}

function unfinished(ctx: Context): Ended {
  const left = [`everything of migration ${ctx.names.migration} on green (${label(ctx.endpoints.green)})`];
  const error = failure('ABORT_UNFINISHED', {
    message: 'green cannot be reached; blue is free of everything but the record of this abort',
    expected: 'both databases reachable',
    found: 'green is not',
    serving: 'blue',
  });
  return {
    exit: 6,
    document: {
      outcome: 'unfinished',
      phase: 'aborting',
      serving: 'blue',
      left,
      next_steps: ['orchestrate abort'],
      error: error.toDocument(),
    },
  };
}

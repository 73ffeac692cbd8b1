import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { fencedTables, removeFence, removeFenceFrom, sealFence } from '../fence/fence.ts';
import { otherSide, SIDES, type Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import type { FinalizeOptions } from '../state/request.ts';
import { changeState, hasControl, readSide, readState } from '../state/store.ts';
import { dropDeleteIndexes } from '../stream/delete-indexes.ts';
import { dropPublication } from '../stream/publication.ts';
import { restoreIdentities } from '../stream/replica-identity.ts';
import { dropSlot } from '../stream/slot.ts';
import type { Ended } from './abort.ts';
import { removeCompatView, settleCompatView } from './compat-view.ts';
import { connectBoth, dropControl } from './control.ts';
import { endingRight } from './ending-right.ts';
import { withTableLock } from './table-lock.ts';

export interface Finalizing extends FinalizeOptions {
  /** Ends streams and sweeps: nothing reads a slot any more when it returns. */
  readonly beforeRemoval?: () => Promise<void>;
}

type Clients = Readonly<Record<Side, pg.Client>>;

const LOCK_WAIT_MS = 30_000;

/**
 * Ends the run with whichever side serves (DESIGN 5.7). Slots, publications, triggers, functions and control schemas
 * go on both sides, saved replica identities come back; the org tables and their migration records stay, and so does
 * the standby's closed fence, unless it is released (HISTORIES 32).
 *
 * Both sides are marked first, with the options; blue's control schema goes before green's. So a finalize that died
 * anywhere is known by green's row, and is gone on with as it was begun.
 * @throws OrchestrateError KEPT_ROWS while `orchestrator.kept` holds rows and the control schemas are not kept;
 *   WRONG_PHASE while a handover is not finished; LEASE_HELD; LOCK_TIMEOUT. It can be repeated after each of them.
 */
export async function finalize(ctx: Context, asked: Finalizing): Promise<Ended> {
  const clients = await connectBoth(ctx, 'finalize');
  try {
    const right = await endingRight(ctx, [clients.green, clients.blue]);
    const own: Context = { ...ctx, claim: () => right };
    const serving = await servingSide(own, clients);
    const begun = await begunOptions(clients.green);
    const options = begun ?? asked;
    if (!begun) await refuse(own, clients, serving, options);
    const certificate = await newestCertificate(clients.green);
    // Whoever follows the journal has the certificate before anything is removed.
    await ctx.journal('certificate', { finalize: true, serving, certificate });

    await asked.beforeRemoval?.();
    await failpoint('finalizing.before');
    await mark(own, clients, options);
    await failpoint('finalizing.after');
    if (await hasControl(clients.green)) {
      if (options.keepCompatView) await settleCompatView(own, clients.green);
      else await removeCompatView(own, clients.green);
    }
    for (const side of [otherSide(serving), serving])
      if (await hasControl(clients[side])) await clearSide(own, clients[side], side, serving, options);
    await failpoint('finalized.before');
    if (options.keepControl) await keepControl(own, clients, serving);
    else
      for (const side of SIDES) {
        await dropControl(own, clients[side], side);
        await failpoint(`control-${side}.dropped`);
      }
    await failpoint('finalized.after');
    const left = leftOf(own, serving, options);
    return {
      exit: 0,
      document: { outcome: 'done', phase: 'finalized', serving, left, certificate, next_steps: [] },
    };
  } finally {
    await Promise.all(SIDES.map((side) => clients[side].end().catch(() => {})));
  }
}

async function servingSide(ctx: Context, clients: Clients): Promise<Side> {
  const blue = await readSide(clients.blue, ctx.names.migration);
  const green = await readSide(clients.green, ctx.names.migration);
  if (!green)
    throw failure('WRONG_PHASE', {
      expected: 'a migration that has been started',
      found: 'none',
      fix: 'orchestrate run',
    });
  // Blue's schema may be gone already; green's own row then says it alone.
  if (blue && (blue.generation !== green.generation || blue.role === green.role))
    throw failure('WRONG_PHASE', {
      message: 'a handover is not finished',
      expected: 'one serving side, of the same generation as the other',
      found: `blue: generation ${blue.generation}, ${blue.role}; green: generation ${green.generation}, ${green.role}`,
      fix: 'orchestrate run',
    });
  return green.role === 'serving' ? 'green' : 'blue';
}

async function refuse(
  ctx: Context,
  clients: Clients,
  serving: Side,
  options: FinalizeOptions,
): Promise<void> {
  const { state } = await readState(clients.green, ctx.names.migration);
  if (state.phase !== 'syncing' && state.phase !== 'finalized')
    throw failure('WRONG_PHASE', {
      message: `finalize has no meaning while the migration is ${state.phase}`,
      expected: 'syncing',
      found: state.phase,
      serving,
    });
  // Nobody would bring them over any more.
  if (state.phase === 'syncing' && state.unmoved)
    throw failure('WRONG_PHASE', {
      message: `finalize has no meaning while clients are still led to ${state.unmoved.from}`,
      expected: `clients that are led to ${serving}`,
      found: 'a traffic driver that fails, and is tried again',
      fix: 'orchestrate status --watch; once the clients are moved by hand, orchestrate run --traffic none',
      serving,
    });
  if (options.release === serving)
    throw failure('CONFIG_INVALID', {
      message: `${serving} serves: it has no closed fence to release`,
      expected: `--release-${otherSide(serving)}, or nothing`,
      found: `--release-${serving}`,
      serving,
    });
  const { rows } = await clients.green.query<{ kept: string }>(
    'SELECT count(*)::text AS kept FROM orchestrator.kept',
  );
  if (rows[0]?.kept !== '0' && !options.keepControl)
    throw failure('KEPT_ROWS', {
      expected: 'no rows in orchestrator.kept, or --keep-control',
      found: `${rows[0]?.kept} rows that the old schema could not express`,
      serving,
    });
}

const BEGUN = `
  SELECT b.value
  FROM orchestrator.before AS b, orchestrator.side AS s
  WHERE b.name = 'finalize' AND s.ending = 'finalizing'`;

/** @returns the options of a finalize that was begun and has not ended, or null. */
async function begunOptions(green: pg.Client): Promise<FinalizeOptions | null> {
  return (await green.query<{ value: FinalizeOptions }>(BEGUN)).rows[0]?.value ?? null;
}

async function newestCertificate(green: pg.Client): Promise<Readonly<Record<string, unknown>> | null> {
  const { rows } = await green.query<{ body: Record<string, unknown> }>(
    'SELECT body FROM orchestrator.certificate ORDER BY generation DESC LIMIT 1',
  );
  return rows[0]?.body ?? null;
}

const REMEMBER = `
  INSERT INTO orchestrator.before (name, value)
  VALUES ('finalize', $1::jsonb)
  ON CONFLICT (name) DO UPDATE SET value = excluded.value`;

/** Green first: its row is the last to go, so a mark on blue alone cannot be. */
async function mark(ctx: Context, clients: Clients, options: FinalizeOptions): Promise<void> {
  const { keepControl, keepCompatView, release } = options;
  for (const side of ['green', 'blue'] as const) {
    const client = clients[side];
    if (!(await hasControl(client))) continue;
    await transaction(client, async () => {
      await holdClaim(client, ctx.claim());
      await client.query(`UPDATE orchestrator.side SET ending = 'finalizing' WHERE migration = $1`, [
        ctx.names.migration,
      ]);
      if (side === 'green')
        await client.query(REMEMBER, [
          JSON.stringify({ keepControl, keepCompatView, ...(release ? { release } : {}) }),
        ]);
    });
  }
}

/** Takes everything of ours from one side but its control schema, which says that this is under way. */
async function clearSide(
  ctx: Context,
  client: pg.Client,
  side: Side,
  serving: Side,
  options: FinalizeOptions,
): Promise<void> {
  await failpoint(`clear-${side}.before`);
  await dropPublication(client, ctx, side);
  await dropSlot(ctx, side, ctx.names.slot[side], ctx.claim());
  const stays = side !== serving && options.release !== side;
  const locked = (tables: readonly string[], work: () => Promise<void>): Promise<void> =>
    withTableLock(client, tables, `clearing ${side}`, LOCK_WAIT_MS, (ms) =>
      transaction(client, async () => {
        await client.query(`SET LOCAL lock_timeout = '${ms}ms'`);
        await holdClaim(client, ctx.claim());
        await work();
      }),
    );
  if (stays)
    await locked(fencedTables(ctx, side), async () => {
      if (side === 'green') await restoreIdentities(client);
      if (side === 'green') await dropDeleteIndexes(client, ctx);
      await sealFence(client, ctx, side);
    });
  else {
    // One table at a time: the application writes here, and whoever holds one lock only is in nobody's deadlock.
    for (const table of fencedTables(ctx, side))
      await locked([table], async () => {
        if (side === 'green') await restoreIdentities(client, table);
        await removeFenceFrom(client, table);
      });
    if (side === 'green') await locked([ctx.relations.settings], () => dropDeleteIndexes(client, ctx));
    await locked([], () => removeFence(client, ctx, side));
  }
  await failpoint(`clear-${side}.after`);
}

/** With the schemas kept, the state says that all is over. */
async function keepControl(ctx: Context, clients: Clients, serving: Side): Promise<void> {
  const { state } = await readState(clients.green, ctx.names.migration);
  if (state.phase !== 'finalized')
    await changeState(clients.green, ctx.claim(), { phase: 'finalized', serving });
  for (const side of ['blue', 'green'] as const)
    await clients[side].query('UPDATE orchestrator.side SET ending = NULL WHERE migration = $1', [
      ctx.names.migration,
    ]);
}

function leftOf(ctx: Context, serving: Side, options: FinalizeOptions): string[] {
  const standby = otherSide(serving);
  return [
    'the org tables and their migration records on green',
    ...(options.release === standby
      ? []
      : [`the closed fence of ${standby} on ${fencedTables(ctx, standby).join(', ')}`]),
    ...(options.keepCompatView ? ['the view user_settings on green, where it was made'] : []),
    ...(options.keepControl ? ['schema orchestrator on both sides'] : []),
  ];
}

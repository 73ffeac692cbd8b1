import type pg from 'pg';
import { CONTROL_DIGEST, controlMadeBy, controlUp } from '../../migrations/control.ts';
import { tablesOwner } from '../../migrations/session.ts';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { clientConfig, connect } from '../pg/connect.ts';
import { otherSide, SIDES, type Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { tablesOf } from '../state/names.ts';
import { readSide, readState, type SideRow } from '../state/store.ts';
import { withTableLock } from './table-lock.ts';

const DROP_WAIT_MS = 30_000;

/** What must be known before a runner has its lease. */
export type Place = Pick<Context, 'names' | 'schemas' | 'endpoints'>;

/** A removal that was begun and has to be finished before anything else is done. */
export type Ending = 'aborting' | 'finalizing';

/**
 * Makes sure that both sides have their control schema and their own row, before a lease can be taken.
 *
 * | blue | green | what follows |
 * |---|---|---|
 * | none | none | (1) make green's, then blue's: blue's row says that green had one |
 * | none | row | (2) green's run has not begun: a former call died half-way, make blue's; else blue is another server |
 * | row | none | (3) green is another server, or lost: refuse, unless an abort is under way |
 * | row | row | (4) each must be the row of that side |
 *
 * Repeating it is harmless, and so is calling it twice at once.
 * @returns the removal that is under way, or null.
 * @throws OrchestrateError OTHER_MIGRATION, IDENTITY_CHANGED, CANNOT_CONNECT.
 */
export async function ensureControl(place: Place): Promise<Ending | null> {
  const clients = await connectBoth(place, 'control');
  try {
    const before = await readBoth(place, clients);
    const ending = (await readEnding(clients.blue)) ?? (await readEnding(clients.green));
    if (ending !== null) return ending;
    if (before.blue && !before.green) throw otherServer('green', 'blue'); // (3)
    if (before.green && !before.blue) {
      const { state } = await readState(clients.green, place.names.migration);
      if (before.green.generation > 0n || state.phase !== 'created') throw otherServer('blue', 'green'); // (2)
    }
    await failpoint('control.before');
    for (const side of ['green', 'blue'] as const) {
      if (before[side]) continue;
      const owner = await ownerOf(place, clients[side], side);
      await controlUp({
        config: clientConfig(place.endpoints[side], { purpose: 'control' }),
        side,
        migration: place.names.migration,
        owner,
      });
      await failpoint(`control-${side}.after`);
    }
    await failpoint('control.after');
    // Somebody else's call may have come first, with another name.
    await readBoth(place, clients);
    return null;
  } finally {
    await Promise.all(SIDES.map((side) => clients[side].end().catch(() => {})));
  }
}

/**
 * A runner works only with a control schema as its own version makes it (I10): nothing has been changed when it refuses.
 * @throws OrchestrateError CONTROL_VERSION.
 */
export async function mustBeOurs(clients: Readonly<Record<Side, pg.ClientBase>>): Promise<void> {
  for (const side of SIDES) {
    const made = await controlMadeBy(clients[side]);
    if (made === null || made.digest === CONTROL_DIGEST) continue;
    throw failure('CONTROL_VERSION', {
      message: `the control schema of ${side} was made by another version of orchestrate`,
      expected: `a schema orchestrator as this version makes it (${CONTROL_DIGEST.slice(0, 12)})`,
      found: `one of ${made.at} (${made.digest?.slice(0, 12) ?? 'older than this check'})`,
    });
  }
}

/**
 * Drops a side's control schema, whole. One that is not there is no error. Sessions of ours that read from it hold it
 * for moments only.
 * @throws OrchestrateError STALE_EPOCH when somebody else has taken over; LOCK_TIMEOUT.
 */
export async function dropControl(ctx: Context, client: pg.ClientBase, side: Side): Promise<void> {
  await withTableLock(
    client,
    ['orchestrator.side'],
    `dropping the control schema of ${side}`,
    DROP_WAIT_MS,
    async (ms) => {
      await transaction(client, async () => {
        await client.query(`SET LOCAL lock_timeout = '${ms}ms'`);
        // Never somebody else's, nor that of a newer run of this name (I10).
        if (!(await readSide(client, ctx.names.migration))) return;
        await holdClaim(client, ctx.claim());
        await client.query('DROP SCHEMA orchestrator CASCADE');
      });
    },
  );
}

/** @returns the role that owns the side's application tables, or is to own them. */
export async function ownerOf(
  place: Pick<Place, 'schemas'>,
  client: pg.ClientBase,
  side: Side,
  login?: string,
): Promise<string> {
  const table = tablesOf(side, place.schemas)[0];
  if (!table) throw new Error(`${side} has no tables`);
  return tablesOwner(
    async <Row extends object>(sql: string, bind: readonly unknown[]) =>
      (await client.query(sql, [...bind])).rows as Row[],
    table.schema,
    table.name,
    login,
  );
}

/** @returns the removal that was begun on this side, or null. */
export async function readEnding(client: pg.ClientBase): Promise<Ending | null> {
  const { rows: has } = await client.query<{ found: boolean }>(
    `SELECT to_regclass('orchestrator.side') IS NOT NULL AS found`,
  );
  if (!has[0]?.found) return null;
  const { rows } = await client.query<{ ending: Ending | null }>('SELECT ending FROM orchestrator.side');
  return rows[0]?.ending ?? null;
}

/** Opens one session on each side; what was opened is closed when the other cannot be reached. */
export async function connectBoth(
  place: Pick<Place, 'endpoints'>,
  purpose: string,
): Promise<Readonly<Record<Side, pg.Client>>> {
  const green = await connect(place.endpoints.green, { purpose });
  try {
    return { green, blue: await connect(place.endpoints.blue, { purpose }) };
  } catch (error) {
    await green.end().catch(() => {});
    throw error;
  }
}

async function readBoth(
  place: Place,
  clients: Readonly<Record<Side, pg.Client>>,
): Promise<Readonly<Record<Side, SideRow | null>>> {
  const rows = {
    blue: await readSide(clients.blue, place.names.migration),
    green: await readSide(clients.green, place.names.migration),
  };
  for (const side of SIDES)
    if (rows[side] && rows[side].side !== side)
      throw failure('IDENTITY_CHANGED', {
        message: `the ${side} URL leads to ${otherSide(side)}`,
        expected: `the ${side} database of migration ${place.names.migration}`,
        found: `its ${otherSide(side)} database`,
        fix: 'exchange --blue-url and --green-url',
      });
  return rows;
}

function otherServer(missing: Side, present: Side): Error {
  return failure('IDENTITY_CHANGED', {
    message: `the control schema is missing on ${missing}, and the migration has begun on ${present}`,
    expected: `the ${missing} database with which the migration began`,
    found: 'a database without schema orchestrator',
    fix: `point the ${missing} URL at the right server; if it is lost: orchestrate abort`,
  });
}

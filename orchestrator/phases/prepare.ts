import type pg from 'pg';
import { migrateUp, migrationStatus } from '../../migrations/migrator.ts';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { fencedTables, installFence } from '../fence/fence.ts';
import { clientConfig } from '../pg/connect.ts';
import { formatLsn } from '../pg/lsn.ts';
import { SIDES } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim, holdClaimBy } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { tablesOf } from '../state/names.ts';
import { createPublication } from '../stream/publication.ts';
import { createSlot, dropSlot, type OpenSlot } from '../stream/slot.ts';
import { connectBoth, ownerOf } from './control.ts';
import { withTableLock } from './table-lock.ts';

export { ensureControl } from './control.ts';

export interface PrepareOptions {
  /** How long to wait for locks on a side's tables, and for running transactions, in ms. */
  readonly lockWaitMs?: number;
}

const LOCK_WAIT_MS = 30_000;

/**
 * Does what lies between `created` and `prepared` (DESIGN 5.1): green's org tables and closed fence, blue's fence (open)
 * and publication, then the slot; its position is stored on green before any row moves. Bounded by lock timeouts.
 *
 * A former call may have died anywhere. Nothing has moved while the phase is `created`, so every step either finds its
 * work done or does it again; only the slot has to be made anew, because its snapshot died with its session:
 *
 * | slot on blue | progress on green | what follows |
 * |---|---|---|
 * | none | none | (1) make the slot, store its position |
 * | there | none | (2) died before the position was stored: drop the slot, (1) |
 * | any | there | (3) died before the phase was: nothing has moved, so drop the slot and replace the position by (1) |
 *
 * @returns the slot with its exported snapshot; the caller releases it.
 * @throws OrchestrateError LOCK_TIMEOUT naming what is in the way; NOT_OUR_ROWS; WRONG_PHASE; STALE_EPOCH.
 */
export async function prepare(
  ctx: Context,
  options: PrepareOptions = {},
): Promise<{ slot: OpenSlot; madeOrgTables: boolean }> {
  const waitMs = options.lockWaitMs ?? LOCK_WAIT_MS;
  const clients = await connectBoth(ctx, 'prepare');
  let slot: OpenSlot | undefined;
  try {
    const madeOrgTables = await rememberBefore(ctx, clients.green);

    await failpoint('schema.before');
    await makeOrgTables(ctx, clients.green);
    await failpoint('schema.after');

    await failpoint('fence.before');
    await closeGreen(ctx, clients.green, waitMs);
    await fenceOpen(ctx, clients.blue, waitMs);
    await failpoint('fence.after');

    // The lock of the publication waits for open writers: the slot made afterwards sees every later write published.
    await failpoint('publication.before');
    await createPublication(clients.blue, ctx, 'blue', waitMs);
    await failpoint('publication.after');

    await failpoint('slot.before');
    await dropSlot(ctx, 'blue', ctx.names.slot.blue, ctx.claim()); // (2), (3)
    slot = await createSlot(ctx, 'blue', {
      name: ctx.names.slot.blue,
      temporary: false,
      lockTimeoutMs: waitMs,
    });
    await failpoint('slot.after');
    await storePosition(ctx, clients.green, slot);
    await failpoint('position.after');
    return { slot, madeOrgTables };
  } catch (error) {
    await slot?.release().catch(() => {});
    throw error;
  } finally {
    await Promise.all(SIDES.map((side) => clients[side].end().catch(() => {})));
  }
}

const REMEMBER = `
  INSERT INTO orchestrator.before (name, value)
  VALUES ($1, $2::jsonb)
  ON CONFLICT (name) DO NOTHING`;

/**
 * Records which migrations green had before us, once; abort goes by it.
 * @returns whether prepare makes the org tables, now or in a former call.
 */
async function rememberBefore(ctx: Context, green: pg.Client): Promise<boolean> {
  await transaction(green, async () => {
    await holdClaim(green, ctx.claim());
    await green.query(REMEMBER, ['migrations', JSON.stringify(await appliedMigrations(ctx, green))]);
  });
  const { rows } = await green.query<{ value: string[] }>(
    `SELECT value FROM orchestrator.before WHERE name = 'migrations'`,
  );
  return rows[0]?.value.length === 0;
}

async function appliedMigrations(ctx: Context, client: pg.Client): Promise<string[]> {
  const status = await migrationStatus(
    async <Row extends object>(sql: string, bind: readonly unknown[]) =>
      (await client.query(sql, [...bind])).rows as Row[],
    ctx.schemas,
  );
  return status.filter((m) => m.appliedAt !== null).map((m) => m.name);
}

async function makeOrgTables(ctx: Context, green: pg.Client): Promise<void> {
  await migrateUp({
    config: clientConfig(ctx.endpoints.green, { purpose: 'migrate' }),
    schemas: ctx.schemas,
    owner: await ownerOf(ctx, green, 'green'),
    inPlace: false,
    guard: (query) => holdClaimBy(query, ctx.claim()),
  });
}

/** Green's fence is closed before it is looked at: what is empty then stays empty of anybody else's rows (I4, I8). */
async function closeGreen(ctx: Context, green: pg.Client, waitMs: number): Promise<void> {
  const owner = await ownerOf(ctx, green, 'green');
  const tables = fencedTables(ctx, 'green');
  await withTableLock(green, tables, 'closing the fence of green', waitMs, (lockTimeoutMs) =>
    transaction(green, async () => {
      await green.query(`SET LOCAL lock_timeout = '${lockTimeoutMs}ms'`);
      await holdClaim(green, ctx.claim());
      await installFence(green, ctx, 'green', 'closed', owner);
      for (const { name } of tablesOf('green', ctx.schemas).filter((t) => t.name !== 'role'))
        await refuseRows(ctx, green, name);
    }),
  );
}

async function refuseRows(ctx: Context, green: pg.Client, table: string): Promise<void> {
  const relation = { org: ctx.relations.org, user: ctx.relations.user, org_user: ctx.relations.orgUser }[
    table
  ];
  const name = relation ?? ctx.relations.settings;
  const { rows } = await green.query<{ filled: boolean }>(`SELECT EXISTS (SELECT FROM ${name}) AS filled`);
  if (rows[0]?.filled)
    throw failure('NOT_OUR_ROWS', {
      message: `green's table ${table} is not empty`,
      expected: `no rows in ${name}`,
      found: 'rows that this migration did not write',
    });
}

async function fenceOpen(ctx: Context, blue: pg.Client, waitMs: number): Promise<void> {
  const owner = await ownerOf(ctx, blue, 'blue');
  await withTableLock(blue, fencedTables(ctx, 'blue'), 'adding the fence of blue', waitMs, (lockTimeoutMs) =>
    transaction(blue, async () => {
      await blue.query(`SET LOCAL lock_timeout = '${lockTimeoutMs}ms'`);
      await holdClaim(blue, ctx.claim());
      await installFence(blue, ctx, 'blue', 'open', owner);
    }),
  );
}

const STORE = `
  INSERT INTO orchestrator.progress (direction, slot, system_identifier, timeline, consistent_point, lsn)
  VALUES ('forward', $1, $2, $3, $4, $4)
  ON CONFLICT (direction) DO UPDATE
  SET slot = excluded.slot, system_identifier = excluded.system_identifier, timeline = excluded.timeline,
      consistent_point = excluded.consistent_point, lsn = excluded.lsn, updated_at = clock_timestamp()`;

/** The resume point comes before any effect: slot, identity and position are on green before a row is read (I13). */
async function storePosition(ctx: Context, green: pg.Client, slot: OpenSlot): Promise<void> {
  await transaction(green, async () => {
    await holdClaim(green, ctx.claim());
    await green.query(STORE, [
      slot.name,
      slot.systemIdentifier,
      slot.timeline,
      formatLsn(slot.consistentPoint),
    ]);
  });
}

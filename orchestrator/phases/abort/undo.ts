import type pg from 'pg';
import { BASE_REVISION, migrateDown, migrationStatus } from '../../../migrations/migrator.ts';
import {
  isThere,
  loadedTables,
  restoreOf,
  type SavedObject,
  savedObjects,
  validateOf,
} from '../../copy/constraints.ts';
import { failpoint } from '../../errors/failpoint.ts';
import { fencedTables, removeFence, setFence } from '../../fence/fence.ts';
import { clientConfig } from '../../pg/connect.ts';
import { transaction } from '../../pg/transaction.ts';
import { holdClaim, holdClaimBy } from '../../state/claim.ts';
import type { Context } from '../../state/context.ts';
import { dropDeleteIndexes } from '../../stream/delete-indexes.ts';
import { dropPublication } from '../../stream/publication.ts';
import { restoreIdentities } from '../../stream/replica-identity.ts';
import { dropSlot } from '../../stream/slot.ts';
import { removeCompatView } from '../compat-view.ts';
import { ownerOf } from '../control.ts';
import { withTableLock } from '../table-lock.ts';

const LOCK_WAIT_MS = 30_000;

/** Blue takes writes again before anything else happens; then what we have put there goes. */
export async function undoBlue(ctx: Context, blue: pg.Client): Promise<void> {
  const tables = fencedTables(ctx, 'blue');
  await failpoint('reopen.before');
  await reopen(ctx, blue, tables);
  await failpoint('reopen.after');
  await dropPublication(blue, ctx, 'blue');
  await dropSlot(ctx, 'blue', ctx.names.slot.blue, ctx.claim());
  await failpoint('fence.before');
  // DROP TRIGGER waits for readers too, so it is tried in short pieces, and last.
  await withTableLock(blue, tables, 'removing the fence of blue', LOCK_WAIT_MS, (ms) =>
    transaction(blue, async () => {
      await blue.query(`SET LOCAL lock_timeout = '${ms}ms'`);
      await holdClaim(blue, ctx.claim());
      await removeFence(blue, ctx, 'blue');
    }),
  );
  await failpoint('fence.after');
}

const FENCED = `
  SELECT t.tgenabled <> 'D' AS enabled
  FROM pg_trigger AS t
  WHERE t.tgrelid = to_regclass($1) AND t.tgname = 'orchestrate_fence'`;

/** Only where the fence is on at all: opening an open one would take a lock for nothing. */
async function reopen(ctx: Context, blue: pg.Client, tables: readonly string[]): Promise<void> {
  const { rows } = await blue.query<{ enabled: boolean }>(FENCED, [tables[0]]);
  if (!rows[0]?.enabled) return;
  await withTableLock(blue, tables, 'reopening blue', LOCK_WAIT_MS, (ms) =>
    transaction(blue, async () => {
      await blue.query(`SET LOCAL lock_timeout = '${ms}ms'`);
      await holdClaim(blue, ctx.claim());
      await setFence(blue, ctx, 'blue', 'open');
    }),
  );
}

/**
 * Green as it was before us. Tables that prepare has made go with all they hold; tables that were there, empty, are
 * emptied again and get back every index and constraint that the copy has taken away.
 */
export async function undoGreen(ctx: Context, green: pg.Client): Promise<void> {
  await dropPublication(green, ctx, 'green');
  await dropSlot(ctx, 'green', ctx.names.slot.green, ctx.claim());
  await removeCompatView(ctx, green);
  const before = await migrationsBefore(green);
  await failpoint('schema.before');
  if (before !== null) await takeBack(ctx, green, before);
  await failpoint('schema.after');
  const tables = fencedTables(ctx, 'green');
  await withTableLock(green, tables, 'restoring green', LOCK_WAIT_MS, (ms) =>
    transaction(green, async () => {
      await green.query(`SET LOCAL lock_timeout = '${ms}ms'`);
      await holdClaim(green, ctx.claim());
      if (before !== null && before.length > 0) await emptyTables(ctx, green);
      await restoreIdentities(green);
      await dropDeleteIndexes(green, ctx);
      await removeFence(green, ctx, 'green');
    }),
  );
}

/** @returns the migrations that green had before us; null when prepare never came to look. */
async function migrationsBefore(green: pg.Client): Promise<readonly string[] | null> {
  const { rows } = await green.query<{ value: string[] }>(
    `SELECT value FROM orchestrator.before WHERE name = 'migrations'`,
  );
  return rows[0]?.value ?? null;
}

/** Takes back the migrations that prepare has applied: with their tables, rows and records. */
async function takeBack(ctx: Context, green: pg.Client, before: readonly string[]): Promise<void> {
  const status = await migrationStatus(
    async <Row extends object>(sql: string, bind: readonly unknown[]) =>
      (await green.query(sql, [...bind])).rows as Row[],
    ctx.schemas,
  );
  if (status.every((m) => m.appliedAt === null || before.includes(m.name))) return;
  await migrateDown(
    {
      config: clientConfig(ctx.endpoints.green, {
        purpose: 'migrate',
        settings: { lock_timeout: `${LOCK_WAIT_MS}ms` },
      }),
      schemas: ctx.schemas,
      owner: await ownerOf(ctx, green, 'green'),
      inPlace: false,
      guard: (query) => holdClaimBy(query, ctx.claim()),
    },
    before.at(-1) ?? BASE_REVISION,
  );
}

/** The fence is closed until this commits, so every row in these tables is one of ours (I8). */
async function emptyTables(ctx: Context, green: pg.Client): Promise<void> {
  await green.query(`TRUNCATE ${loadedTables(ctx).join(', ')}`);
  const away: SavedObject[] = [];
  for (const object of await savedObjects(green))
    if (CONSTRAINTS.includes(object.kind) && !(await isThere(green, object))) away.push(object);
  // Primary and unique keys first: foreign keys hang on them.
  const ordered = [...away].sort((a, b) => CONSTRAINTS.indexOf(a.kind) - CONSTRAINTS.indexOf(b.kind));
  for (const object of ordered) {
    await green.query(restoreOf(object));
    const validate = validateOf(object);
    if (object.kind === 'foreign key' && validate) await green.query(validate);
  }
}

const CONSTRAINTS: readonly string[] = ['primary key', 'constraint', 'index', 'foreign key'];

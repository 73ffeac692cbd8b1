import type pg from 'pg';
import { KEY_COLUMN } from '../../src/mapping/columns.ts';
import { newestSnapshot } from '../copy/chunks.ts';
import {
  forgetSaved,
  isThere,
  isValid,
  loadedTables,
  restoreOf,
  type SavedObject,
  savedObjects,
  validateOf,
} from '../copy/constraints.ts';
import { isRecomputed, looksDistinct, markRecomputed, recompute } from '../copy/recompute.ts';
import { discard } from '../copy/session.ts';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { connect } from '../pg/connect.ts';
import { formatLsn, type Lsn, parseLsn } from '../pg/lsn.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { step } from './build-step.ts';

export interface BuildOptions {
  /** Sessions that build at the same time; default 2. */
  readonly connections?: number;
  /** `maintenance_work_mem` of each of them; default 256MB. */
  readonly memory?: string;
  /** `max_parallel_maintenance_workers` of each of them; default 0, see below. */
  readonly parallelWorkers?: number;
  /** How long a step waits for a lock, in ms; default 120,000. */
  readonly lockWaitMs?: number;
}

/**
 * Longer than any of our own steps holds a lock that another one wants, and short enough that a forgotten session on green
 * is named and not waited for all night.
 */
const LOCK_WAIT_MS = 120_000;

/** One durable step, done when its own transaction has committed; doing it again does nothing. */
type Step = (client: pg.Client) => Promise<void>;

/**
 * Makes green whole after the copy (DESIGN 5.3): primary keys, catch-up, the pass that decides who is mapped, then
 * everything else that was taken away, and statistics. May be run again after any crash; what is there stays.
 *
 * @param catchUp applies blue's changes, from the first slot position on, until `until` is durably passed; it must
 *   not apply anything once it has resolved.
 * @throws OrchestrateError STALE_EPOCH, APPLY_CONFLICT (from `catchUp`) and transient ones.
 */
export async function buildPhase(
  ctx: Context,
  catchUp: (until: Lsn) => Promise<void>,
  options: BuildOptions = {},
): Promise<void> {
  const startedAt = performance.now();
  const clients = await Promise.all(
    Array.from({ length: options.connections ?? 2 }, () => openBuilder(ctx, options)),
  );
  const first = clients[0];
  if (first === undefined) throw new RangeError('at least one connection');
  const cancel = () => void cancelAll(ctx, clients);
  ctx.signal.addEventListener('abort', cancel, { once: true });
  try {
    const saved = await savedObjects(first);
    await ctx.journal('build', { started: true, objects: saved.length });

    // The applier finds rows by primary key; the other constraints would trip over what it has not seen yet.
    await inParallel(
      ctx,
      clients,
      largestFirst(ctx).map((table) =>
        saved.filter((o) => isPrimaryKey(o) && sameTable(o, table)).map((o) => restore(ctx, o)),
      ),
    );
    const { until } = await catchUpOnce(first, catchUp);

    await inParallel(ctx, clients, secondary(ctx, saved));
    await restoreForeignKeys(ctx, first, saved);
    await inParallel(ctx, clients, finishing(ctx, saved));
    await checkAll(first, saved);
    await transaction(first, async () => {
      await holdClaim(first, ctx.claim());
      await first.query('SET LOCAL synchronous_commit = on');
      await forgetSaved(first);
    });
    const seconds = (performance.now() - startedAt) / 1_000;
    await ctx.journal('build', { finished: true, objects: saved.length, seconds, caughtUpAt: until });
  } catch (error) {
    throw ctx.signal.aborted ? ctx.signal.reason : error;
  } finally {
    ctx.signal.removeEventListener('abort', cancel);
    await Promise.all(clients.map(discard));
  }
}

/** The loaded tables: what takes longest is not to be what begins last. */
const largestFirst = ({ relations: r }: Context): string[] => [r.settings, r.user, r.orgUser, r.org];

const isPrimaryKey = (o: SavedObject): boolean => o.kind === 'primary key';
const isForeignKey = (o: SavedObject): boolean => o.kind === 'foreign key';

/**
 * Brings green past the newest snapshot, unless that was done and the pass after it has been committed: from then on
 * the key rules hold and nothing may be applied without them.
 */
async function catchUpOnce(
  client: pg.Client,
  catchUp: (until: Lsn) => Promise<void>,
): Promise<{ until: string }> {
  const until = await newestSnapshot(client);
  if (until === null)
    throw failure('WRONG_PHASE', { expected: 'a copy that has been made', found: 'no chunks of one' });
  // With one snapshot alone there is nothing between the pictures; the stream goes on where it would have begun.
  if (!(await isRecomputed(client)) && (await appliedUpTo(client)) < until) {
    await failpoint('catch-up.before');
    await catchUp(until);
    await failpoint('catch-up.after');
  }
  return { until: formatLsn(until) };
}

const APPLIED = `
  SELECT lsn::text AS lsn
  FROM orchestrator.progress
  WHERE direction = 'forward'`;

async function appliedUpTo(client: pg.Client): Promise<Lsn> {
  const { rows } = await client.query<{ lsn: string }>(APPLIED);
  if (rows[0] === undefined)
    throw failure('SLOT_MISSING', { expected: 'a stored slot position from prepare', found: 'none' });
  return parseLsn(rows[0].lsn);
}

/** Not validated yet, so it takes no time: all of them at once. */
async function restoreForeignKeys(
  ctx: Context,
  client: pg.Client,
  saved: readonly SavedObject[],
): Promise<void> {
  const missing: SavedObject[] = [];
  for (const o of saved.filter(isForeignKey)) if (!(await isThere(client, o))) missing.push(o);
  if (missing.length > 0)
    await step(
      ctx,
      client,
      [...new Set([...missing.map((o) => o.table), ...loadedTables(ctx)])],
      missing.map(restoreOf).join(';\n'),
    );
}

/**
 * What comes after the catch-up, a list for each table, so that no two steps want the same table's lock. The pass
 * that decides who is mapped stands before the user's own constraints; it deletes from the other tables too and
 * waits there for a build in flight.
 */
function secondary(ctx: Context, saved: readonly SavedObject[]): Step[][] {
  const { user, settings, org, orgUser } = ctx.relations;
  return [user, settings, org, orgUser].map((table) => [
    ...(table === user ? [analyse(ctx, user), guessUnique(ctx, saved), decide(ctx, saved)] : []),
    ...saved
      .filter((o) => !isPrimaryKey(o) && !isForeignKey(o) && sameTable(o, table))
      .map((o) => restore(ctx, o)),
  ]);
}

/** The constraint that proves that no two users share a key; only in exactly this form. */
const uniqueKey = (ctx: Context, saved: readonly SavedObject[]): SavedObject | undefined =>
  saved.find(
    (o) =>
      o.kind === 'constraint' &&
      sameTable(o, ctx.relations.user) &&
      o.definition === `UNIQUE (${KEY_COLUMN})`,
  );

/**
 * Where the statistics have seen no key twice, the unique constraint is tried before the pass that looks for such keys: if
 * it can be built there are none, and half of what the pass costs is saved. If it cannot, nothing has happened but some
 * time lost, and the pass decides as ever. Statistics choose the way, never the result.
 */
const guessUnique =
  (ctx: Context, saved: readonly SavedObject[]): Step =>
  async (client) => {
    const constraint = uniqueKey(ctx, saved);
    if (constraint === undefined || (await isRecomputed(client)) || !(await looksDistinct(client, ctx)))
      return;
    try {
      await restore(ctx, constraint)(client);
    } catch (error) {
      if (sqlState(error) !== UNIQUE_VIOLATION) throw error;
      ctx.log.info(
        {},
        'some users share a key: the pass decides who keeps it before the constraint comes back',
      );
    }
  };

const UNIQUE_VIOLATION = '23505';

/** The pass that decides who is mapped, with its mark, in one transaction. */
const decide =
  (ctx: Context, saved: readonly SavedObject[]): Step =>
  async (client) => {
    if (await isRecomputed(client)) return;
    const constraint = uniqueKey(ctx, saved);
    const keys = constraint !== undefined && (await isValid(client, constraint)) ? 'unique' : 'shared';
    await failpoint('recompute.before');
    const result = await transaction(client, async () => {
      await holdClaim(client, ctx.claim());
      // It deletes from tables whose indexes are being built meanwhile, which may take long.
      await client.query('SET LOCAL lock_timeout = 0');
      const done = await recompute(client, ctx, keys);
      await markRecomputed(client, done);
      return done;
    });
    await failpoint('recompute.after');
    await ctx.journal('build', { ...result, keys });
  };

/** Validation and statistics; both take a lock that conflicts with itself, so each table is one list. */
function finishing(ctx: Context, saved: readonly SavedObject[]): Step[][] {
  const others = [...new Set(saved.filter(isForeignKey).map((o) => o.table))].filter(
    (table) => !loadedTables(ctx).some((loaded) => unquoted(loaded) === unquoted(table)),
  );
  return [...largestFirst(ctx), ...others].map((table) => [
    ...(others.includes(table) || table === ctx.relations.user ? [] : [analyse(ctx, table)]),
    ...saved.filter((o) => isForeignKey(o) && sameTable(o, table)).map((o) => validate(ctx, o)),
  ]);
}

/** `"public"."user"` and `public."user"` are the same table. */
const unquoted = (name: string): string => name.replaceAll('"', '');
const refersTo = (object: SavedObject, table: string): boolean =>
  unquoted(object.definition).includes(` REFERENCES ${unquoted(table)}(`);
const sameTable = (object: SavedObject, table: string): boolean => unquoted(object.table) === unquoted(table);

const restore =
  (ctx: Context, object: SavedObject): Step =>
  async (client) => {
    if (await isThere(client, object)) return;
    await step(ctx, client, [object.table], restoreOf(object));
  };

const validate =
  (ctx: Context, object: SavedObject): Step =>
  async (client) => {
    const statement = validateOf(object);
    if (statement === null || (await isValid(client, object))) return;
    // Both keys were loaded in order: walking along the two indexes takes two thirds of the time of hashing one table.
    // Only a small table, which the copy does not fill (role), is better hashed.
    const large = loadedTables(ctx).some((table) => refersTo(object, table));
    await step(ctx, client, [object.table], statement, large ? 'SET LOCAL enable_hashjoin = off' : undefined);
  };

const analyse =
  (ctx: Context, table: string): Step =>
  (client) =>
    step(ctx, client, [table], `ANALYZE ${table}`);

/** Nothing is forgotten unless everything is back, and valid. */
async function checkAll(client: pg.Client, saved: readonly SavedObject[]): Promise<void> {
  for (const object of saved)
    if (!(await isThere(client, object)) || (validateOf(object) !== null && !(await isValid(client, object))))
      throw failure('INTERNAL', {
        message: `${object.kind} ${object.name} is not back`,
        expected: 'every index and constraint as it was saved',
        found: 'one that is missing or not valid',
      });
}

/** Runs lists of steps, each list in its order on one session, as many lists at once as there are sessions. */
async function inParallel(
  ctx: Context,
  clients: readonly pg.Client[],
  lists: readonly Step[][],
): Promise<void> {
  const waiting = [...lists];
  let failed: { error: unknown } | undefined;
  await Promise.all(
    clients.map(async (client) => {
      try {
        for (let list = waiting.shift(); list !== undefined; list = waiting.shift())
          for (const run of list) {
            if (failed !== undefined) return;
            ctx.signal.throwIfAborted();
            await run(client);
          }
      } catch (error) {
        failed ??= { error };
      }
    }),
  );
  if (failed !== undefined) throw failed.error;
}

/**
 * Two tables at a time with a process each use two cores better than one index with three processes: sorting apart and
 * merging costs a quarter more CPU. Parallel workers are for servers with cores to spare.
 */
async function openBuilder(ctx: Context, options: BuildOptions): Promise<pg.Client> {
  const parallel = `${options.parallelWorkers ?? 0}`;
  return connect(ctx.endpoints.green, {
    purpose: 'build',
    settings: {
      maintenance_work_mem: options.memory ?? '256MB',
      work_mem: '64MB',
      // A step that a crash of green takes back is not there afterwards and is done again; the last one waits for all.
      synchronous_commit: 'off',
      lock_timeout: `${options.lockWaitMs ?? LOCK_WAIT_MS}ms`,
      max_parallel_maintenance_workers: parallel,
      max_parallel_workers_per_gather: parallel,
      jit: 'off',
    },
  });
}

/** A building backend does not notice that its client has gone: it is told, or its locks would outlive us. */
async function cancelAll(ctx: Context, clients: readonly pg.Client[]): Promise<void> {
  try {
    const client = await connect(ctx.endpoints.green, { purpose: 'cancel' });
    const pids = clients.map((c) => (c as pg.Client & { processID: number | null }).processID);
    await client.query('SELECT pg_cancel_backend(p) FROM unnest($1::integer[]) AS p', [pids]);
    await discard(client);
  } catch (error) {
    ctx.log.warn({ err: error }, 'the building sessions could not be cancelled');
  }
}

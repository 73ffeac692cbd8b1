import type { ClientBase } from 'pg';
import { ident, literal, qualified } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { tablesOf } from '../state/names.ts';

/**
 * The per-side write lock (DESIGN 7): a statement trigger on each of the application's tables.
 * `open`: disabled, costs the application nothing. `leased`: refuses until a deadline, then lets through by itself.
 * `closed`: refuses. `sealed`: refuses after finalize, when the control schema is gone.
 */
export type FenceState = 'open' | 'leased' | 'lapsed' | 'closed' | 'sealed' | 'absent' | 'broken';

export interface Fence {
  readonly state: FenceState;
  /** Epoch seconds on that server's clock, for `leased` and `lapsed`. */
  readonly deadline: number | null;
  readonly attempt: string | null;
}

export const FENCE_NAME = 'orchestrate_fence';

/** The fenced tables of a side, quoted, as the server-side calls take them. */
export function fencedTables(ctx: Pick<Context, 'schemas'>, side: Side): string[] {
  return tablesOf(side, ctx.schemas).map((t) => qualified(t.schema, t.name));
}

function schemaOf(ctx: Pick<Context, 'schemas'>, side: Side): string {
  return side === 'blue' ? ctx.schemas.source : ctx.schemas.org;
}

/**
 * The trigger function. `session_user`, not `current_user` nor a setting: a SECURITY DEFINER function of ours or a
 * SET ROLE would slip through (HISTORIES 16). SECURITY DEFINER, so that whoever writes needs no right on the counters.
 */
const fenceFunction = (schema: string) => `
  CREATE OR REPLACE FUNCTION ${ident(schema)}.${ident(FENCE_NAME)}() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fence$
  -- arguments: state, deadline in epoch seconds, attempt, the one login that passes, migration
  BEGIN
    IF session_user = TG_ARGV[3] OR TG_ARGV[0] = 'open' THEN
      RETURN NULL;
    END IF;
    IF TG_ARGV[0] = 'leased' AND extract(epoch FROM clock_timestamp()) >= TG_ARGV[1]::numeric THEN
      PERFORM nextval('orchestrator.fence_late');
      RETURN NULL;
    END IF;
    IF TG_ARGV[0] <> 'sealed' THEN
      PERFORM nextval('orchestrator.fence_refused');
    END IF;
    RAISE EXCEPTION USING
      ERRCODE = '25006',
      MESSAGE = format('writes to %I are fenced by migration %s', TG_TABLE_NAME, TG_ARGV[4]),
      HINT = CASE TG_ARGV[0]
        WHEN 'leased' THEN 'A handover is under way: try again in a moment.'
        ELSE 'The other database takes the writes: connect there.'
      END;
  END $fence$`;

/**
 * Creates function and triggers in the caller's transaction, as the tables' owner.
 * @param owner the role that owns the side's tables; the fence function becomes its own.
 */
export async function installFence(
  client: ClientBase,
  ctx: Context,
  side: Side,
  state: 'open' | 'closed',
  owner: string,
): Promise<void> {
  await client.query(`SET LOCAL ROLE ${ident(owner)}`);
  await client.query(fenceFunction(schemaOf(ctx, side)));
  // Nobody else may hang it on a table of theirs, and count there.
  await client.query(
    `REVOKE ALL ON FUNCTION ${ident(schemaOf(ctx, side))}.${ident(FENCE_NAME)}() FROM PUBLIC`,
  );
  await client.query('RESET ROLE');
  await setFence(client, ctx, side, state);
}

/** Sets the triggers in the caller's transaction. The steps of a handover use the server-side calls instead. */
export async function setFence(
  client: ClientBase,
  ctx: Context,
  side: Side,
  state: 'open' | 'closed',
): Promise<void> {
  await client.query('SELECT orchestrator.set_fence($1, $2, NULL, NULL, $3)', [
    fencedTables(ctx, side),
    state,
    ctx.names.migration,
  ]);
}

/** Removes triggers and function in the caller's transaction; nothing happens where they are gone already. */
export async function removeFence(client: ClientBase, ctx: Context, side: Side): Promise<void> {
  for (const table of fencedTables(ctx, side)) await removeFenceFrom(client, table);
  await client.query(`DROP FUNCTION IF EXISTS ${ident(schemaOf(ctx, side))}.${ident(FENCE_NAME)}()`);
}

/** Removes the trigger of one table (quoted, qualified) in the caller's transaction. */
export async function removeFenceFrom(client: ClientBase, table: string): Promise<void> {
  const { rows } = await client.query<{ found: boolean }>(
    `SELECT EXISTS (
       SELECT FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2 AND NOT tgisinternal) AS found`,
    [table, FENCE_NAME],
  );
  // Looked up first: only a trigger that is there is worth the lock.
  if (rows[0]?.found) await client.query(`DROP TRIGGER IF EXISTS ${ident(FENCE_NAME)} ON ${table}`);
}

/**
 * What finalize leaves on the standby: a fence that needs nothing of the control schema, so that a forgotten job
 * cannot write there (HISTORIES 32). In the caller's transaction.
 */
export async function sealFence(client: ClientBase, ctx: Context, side: Side): Promise<void> {
  const schema = schemaOf(ctx, side);
  for (const table of fencedTables(ctx, side)) {
    await client.query(`
      CREATE OR REPLACE TRIGGER ${ident(FENCE_NAME)}
      BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ${table}
      FOR EACH STATEMENT EXECUTE FUNCTION ${ident(schema)}.${ident(FENCE_NAME)}
        ('sealed', '', '', '', ${literal(ctx.names.migration)})`);
    await client.query(`ALTER TABLE ${table} ENABLE ALWAYS TRIGGER ${ident(FENCE_NAME)}`);
  }
}

/** @returns the fence of a side, as one state for all its tables; tables that disagree are `broken`. */
export async function readFence(
  client: ClientBase,
  ctx: Pick<Context, 'schemas'>,
  side: Side,
): Promise<Fence & { readonly clock: number }> {
  const { rows } = await client.query<{
    state: FenceState;
    deadline: string | null;
    attempt: string | null;
    clock: string;
  }>('SELECT state, deadline, attempt, orchestrator.now_seconds() AS clock FROM orchestrator.fence($1)', [
    fencedTables(ctx, side),
  ]);
  const first = rows[0];
  if (!first) return { state: 'absent', deadline: null, attempt: null, clock: 0 };
  const clock = Number(first.clock);
  const same = rows.every(
    (r) => r.state === first.state && r.deadline === first.deadline && r.attempt === first.attempt,
  );
  const deadline = first.deadline === null ? null : Number(first.deadline);
  if (!same) return { state: 'broken', deadline: null, attempt: null, clock };
  const lapsed = first.state === 'leased' && deadline !== null && deadline <= clock;
  return { state: lapsed ? 'lapsed' : first.state, deadline, attempt: first.attempt, clock };
}

/** Turns the SQLSTATEs of the server-side calls into errors of the catalogue. */
export function fenceFailure(error: unknown, side: Side, action: string): unknown {
  const state = (error as { code?: string }).code;
  const found = (error as Error).message;
  if (state === 'ORC01')
    return failure('STALE_EPOCH', { message: `${action} on ${side} was refused`, found, cause: error });
  if (state === 'ORC02' || state === 'ORC03')
    return failure('HANDOVER_ABORTED', { message: `${action} on ${side} was refused`, found, cause: error });
  return error;
}

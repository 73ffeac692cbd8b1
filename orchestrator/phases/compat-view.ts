import type pg from 'pg';
import {
  COMPAT_FUNCTION,
  type CompatOwnership,
  createCompatView,
  dropCompatView,
} from '../../src/mapping/compat-view.ts';
import { ident } from '../../src/mapping/identifier.ts';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { ownerOf } from './control.ts';

/**
 * Makes the view `user_settings` on green, for an old application that is to run there (`--compat-view`). Its
 * triggers write the org tables, so the fence of green holds for it too.
 */
export async function makeCompatView(ctx: Context, green: pg.Client): Promise<void> {
  const { taken, ours } = await standing(ctx, green);
  if (taken && !ours)
    throw failure('NOT_OUR_ROWS', {
      message: `green has another ${ctx.relations.userSettings}`,
      expected: 'no relation of that name, for the view of --compat-view',
      found: 'one that this migration did not make',
      fix: `rename it, or orchestrate abort and run without --compat-view`,
    });
  await failpoint('compat-view.before');
  await writeView(ctx, green, 'link');
  await failpoint('compat-view.after');
}

/** The view without what the control schema knows, which is about to go: for `finalize --keep-compat-view`. */
export async function settleCompatView(ctx: Context, green: pg.Client): Promise<void> {
  if ((await standing(ctx, green)).ours) await writeView(ctx, green, 'name');
}

/** Takes the view away. One that is not there is no error; a table of that name stays (I8). */
export async function removeCompatView(ctx: Context, green: pg.Client): Promise<void> {
  if (!(await standing(ctx, green)).ours) return;
  await transaction(green, async () => {
    await holdClaim(green, ctx.claim());
    await green.query(`SET LOCAL lock_timeout = '2s'`);
    await green.query(dropCompatView(ctx.schemas.source));
  });
}

/** Ours is the view that has our trigger. */
const STANDING = `
  SELECT to_regclass($1) IS NOT NULL AS taken,
         EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = to_regclass($1) AND t.tgname = $2) AS ours`;

async function standing(ctx: Context, green: pg.Client): Promise<{ taken: boolean; ours: boolean }> {
  const { rows } = await green.query<{ taken: boolean; ours: boolean }>(STANDING, [
    ctx.relations.userSettings,
    COMPAT_FUNCTION,
  ]);
  return rows[0] ?? { taken: false, ours: false };
}

async function writeView(ctx: Context, green: pg.Client, ownership: CompatOwnership): Promise<void> {
  const owner = await ownerOf(ctx, green, 'green');
  await transaction(green, async () => {
    await holdClaim(green, ctx.claim());
    // The view reads as its owner.
    if (ownership === 'link') await green.query(`GRANT SELECT ON ${ctx.relations.link} TO ${ident(owner)}`);
    await green.query(`SET LOCAL ROLE ${ident(owner)}`);
    for (const statement of createCompatView(ctx.relations, ctx.schemas.source, ownership))
      await green.query(statement);
  });
}

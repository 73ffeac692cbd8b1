import type pg from 'pg';
import type { ClientBase } from 'pg';
import type { Side } from '../pg/side.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import type { VerifyDocument } from '../state/documents.ts';
import { catalogDigest } from './catalog.ts';
import { type CatalogDigests, catalogChanges, type SweepResult } from './sweep.ts';

const STORE = `
  INSERT INTO orchestrator.sweep
    (generation, lsn, catalog_digest, started_at, clean, void, rows_compared, result)
  VALUES ($1, $2::pg_lsn, $3::jsonb, clock_timestamp() - make_interval(secs => $4), $5, $6, $7, $8::jsonb)`;

/** Stores a sweep on green, in a transaction of its own under the claim (I10). */
export async function storeSweep(
  green: ClientBase,
  ctx: Context,
  result: SweepResult,
  document: VerifyDocument,
): Promise<void> {
  await transaction(green, async () => {
    await holdClaim(green, ctx.claim());
    await green.query(STORE, [
      result.generation.toString(),
      result.lsn,
      JSON.stringify(result.catalog),
      // On green's clock, which is also the one that tells how old a sweep is.
      result.durationSeconds,
      result.clean,
      result.voided.length > 0,
      result.rowsCompared,
      JSON.stringify({
        ...document,
        serving: result.serving,
        mismatched: result.mismatched,
        foreign: result.foreign,
        foreign_hash: result.foreignHash,
      }),
    ]);
  });
}

/** The newest sweep of the current generation, clean or not. */
export interface LastSweep {
  readonly clean: boolean;
  readonly void: boolean;
  /** Since it began: what it proves is as old as its picture. */
  readonly ageSeconds: number;
  readonly lsn: string;
  readonly catalog: CatalogDigests;
  readonly result: VerifyDocument & { readonly serving: Side; readonly mismatched: number };
}

const LAST = `
  SELECT clean, void, lsn::text AS lsn, catalog_digest AS catalog, result - 'foreign' AS result,
         extract(epoch FROM clock_timestamp() - started_at)::double precision AS "ageSeconds"
  FROM orchestrator.sweep
  WHERE generation = $1
  ORDER BY id DESC
  LIMIT 1`;

/** @returns the newest sweep of the current generation; null when there is none: another one's proves nothing. */
export async function lastSweep(green: ClientBase, ctx: Context): Promise<LastSweep | null> {
  const { rows } = await green.query<LastSweep>(LAST, [ctx.claim().generation.toString()]);
  return rows[0] ?? null;
}

/**
 * Compares the tables' definitions with those of the newest sweep (HISTORIES 6).
 * @returns what changed, one line each; one line that says so when there is no sweep to compare with.
 */
export async function drift(
  ctx: Context,
  clients: Readonly<Record<Side, pg.Client>>,
): Promise<readonly string[]> {
  const last = await lastSweep(clients.green, ctx);
  if (last === null) return ['no sweep of this generation to compare the definitions with'];
  const [blue, green] = await Promise.all([
    catalogDigest(clients.blue, ctx, 'blue'),
    catalogDigest(clients.green, ctx, 'green'),
  ]);
  return catalogChanges(last.catalog, { blue, green });
}

import { failpoint } from '../errors/failpoint.ts';
import { connect } from '../pg/connect.ts';
import { SIDES, type Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import type { VerifyDocument } from '../state/documents.ts';
import { storeSweep } from '../verify/last-sweep.ts';
import { COMPARED_TABLES, type ComparedTable, MISMATCH_KINDS } from '../verify/mismatch.ts';
import { type SweepOptions, type SweepResult, sweep } from '../verify/sweep.ts';

/**
 * One sweep (DESIGN 6): compares, stores the result on green, and only then lets the new delta replace the old one.
 * Differences are no error: they are in the document.
 * @throws OrchestrateError when the sweep could not be made; the delta and the last result stay as they are.
 */
export async function sweepPhase(ctx: Context, options: SweepOptions): Promise<VerifyDocument> {
  const { delta } = options.applier;
  let result: SweepResult;
  let document: VerifyDocument;
  try {
    result = await sweep(ctx, options);
    document = documentOf(result);
    await store(ctx, result, document);
  } catch (error) {
    delta.sweepFailed();
    throw error;
  }
  if (result.clean) delta.sweepClean();
  else if (result.voided.length > 0) {
    // A rewrite sends nothing: no key of it is in any delta.
    delta.sweepFailed();
    delta.lose();
  } else delta.sweepFailed();
  report(ctx, result, delta.size);
  await ctx.journal('sweep', {
    clean: result.clean,
    serving: result.serving,
    lsn: result.lsn,
    rows_compared: result.rowsCompared,
    mismatched: result.mismatched,
    voided: result.voided,
    duration_seconds: result.durationSeconds,
  });
  await failpoint('sweep.after');
  return document;
}

async function store(ctx: Context, result: SweepResult, document: VerifyDocument): Promise<void> {
  const green = await connect(ctx.endpoints.green, { purpose: 'sweep-store' });
  try {
    await storeSweep(green, ctx, result, document);
  } finally {
    await green.end();
  }
}

/** @returns what `verify --json` prints (OPERATIONS 5). */
export function documentOf(result: SweepResult): VerifyDocument {
  return {
    clean: result.clean,
    lsn: result.lsn,
    rows_compared: result.rowsCompared,
    mismatches: result.mismatches.map((m) => ({ ...m, key: String(m.key) })),
    mapped: result.mapped,
    parked: result.parked,
    duration_seconds: result.durationSeconds,
  };
}

function report(ctx: Context, result: SweepResult, deltaKeys: number | undefined): void {
  const { metrics, log } = ctx;
  for (const table of tablesOf(result.serving)) {
    metrics.add('verify_rows_compared_total', { table }, rowsOf(table, result));
    for (const kind of MISMATCH_KINDS)
      metrics.set(
        'verify_mismatched_rows',
        { table, kind },
        result.mismatches.filter((m) => m.table === table && m.kind === kind).length,
      );
  }
  for (const side of SIDES)
    metrics.set('schema_drift', { side }, result.voided.some((line) => line.startsWith(`${side} `)) ? 1 : 0);
  metrics.set('verify_delta_keys', {}, deltaKeys);
  for (const [reason, rows] of Object.entries(result.parked)) metrics.set('parked_rows', { reason }, rows);
  if (result.clean) metrics.set('verify_last_success_timestamp_seconds', {}, Date.now() / 1000);
  const facts = { lsn: result.lsn, rows: result.rowsCompared, seconds: result.durationSeconds };
  // A clean one is told by its entry in the journal.
  if (result.voided.length > 0)
    log.warn({ ...facts, voided: result.voided }, 'sweep is void: the definitions of tables changed');
  else if (!result.clean) log.error({ ...facts, mismatched: result.mismatched }, 'sweep found differences');
}

function rowsOf(table: ComparedTable, result: SweepResult): number {
  switch (table) {
    case 'role':
      return 0;
    case 'parked':
      return result.rowsCompared - result.mapped;
    case 'user_settings':
      return result.rowsCompared;
    default:
      return result.mapped;
  }
}

/** The tables whose rows a sweep compares, on the standby. */
const tablesOf = (serving: Side) =>
  COMPARED_TABLES.filter((table) => (table === 'user_settings') === (serving === 'green'));

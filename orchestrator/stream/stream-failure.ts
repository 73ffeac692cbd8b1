import pg from 'pg';
import { failure, OrchestrateError } from '../errors/failure.ts';
import { isTransient, sqlState } from '../errors/sqlstate.ts';
import { formatLsn, type Lsn } from '../pg/lsn.ts';

/** What to do about an error of the stream. */
export type Verdict =
  /** Reconnect both sides and do the batch again. */
  | 'retry'
  /** The same, but only a few times in a row: a server's error that says nothing about a row may be of the moment. */
  | 'again'
  /** The same, change by change, so that the error can name the one that cannot be applied. */
  | 'singly'
  /** Trying again cannot help. */
  | 'fatal';

/**
 * Judges an error of the stream. The server's own message and detail are not repeated: they quote values.
 * @param at where the transaction starts that was applied last, and whether changes were applied one by one.
 */
export function judgeFailure(
  error: unknown,
  at: { readonly lsn: Lsn; readonly singly: boolean },
): { readonly error: OrchestrateError; readonly verdict: Verdict } {
  if (error instanceof OrchestrateError)
    return {
      error,
      // The same run has logged in before, so a secret or a certificate is being rotated: the other half will follow.
      verdict: error.entry.retry === 'transient' || error.entry.exit === 4 ? 'retry' : 'fatal',
    };
  const state = sqlState(error);
  if (isTransient(error))
    return {
      error: failure('TRANSIENT', {
        expected: 'an answer',
        found: state ?? 'a lost connection',
        cause: error,
      }),
      verdict: 'retry',
    };
  if (state !== undefined && error instanceof pg.DatabaseError) {
    const where = [error.table, error.column, error.constraint]
      .filter((part) => part !== undefined)
      .join(', ');
    const conflict = failure('APPLY_CONFLICT', {
      message: `a change of the transaction at ${formatLsn(at.lsn)} cannot be applied`,
      expected: 'a target that takes what the source holds',
      found: `SQLSTATE ${state}${where === '' ? '' : ` (${where})`}${idOf(error)}`,
      cause: error,
    });
    // 22: data exception, 23: constraint violation; both are about one row.
    const aboutRow = state.startsWith('22') || state.startsWith('23');
    if (!aboutRow) return { error: conflict, verdict: 'again' };
    return { error: conflict, verdict: at.singly ? 'fatal' : 'singly' };
  }
  return {
    error: failure('INTERNAL', {
      message: `the stream met an error it does not know at ${formatLsn(at.lsn)}`,
      found: error instanceof Error ? `${error.name}: ${error.message.slice(0, 200)}` : typeof error,
      cause: error,
    }),
    verdict: 'fatal',
  };
}

/** The source id that a sink has put on the error. */
function idOf(error: object): string {
  const id = (error as { sourceId?: unknown }).sourceId;
  return typeof id === 'number' ? `, source id ${id}` : '';
}

/** A short, bounded word for the metric's label. */
export function reasonOf(error: unknown): string {
  if (error instanceof OrchestrateError) return error.code.toLowerCase();
  const state = sqlState(error);
  if (state === undefined) return 'connection';
  return /^[0-9A-Z]{5}$/.test(state) ? `sqlstate_${state.slice(0, 2)}` : 'connection';
}

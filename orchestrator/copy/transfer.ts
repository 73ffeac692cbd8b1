import type pg from 'pg';
import { failure } from '../errors/failure.ts';
import type { Pace } from './pace.ts';
import { relayCopy } from './relay.ts';
import type { Transfer } from './statements.ts';

/** How many rows and bytes one COPY has moved. */
export interface Moved {
  readonly rows: number;
  readonly bytes: number;
}

/**
 * Pipes one COPY out of blue into one COPY into green, byte for byte: no row is parsed here.
 *
 * After any failure blue's session is stuck in the middle of a COPY and holds its snapshot (FIELD-NOTES F): the caller
 * must close both sessions.
 * @throws OrchestrateError COPY_MISCOUNT when the two servers counted differently; nothing is committed then.
 */
export async function transferRows(
  blue: pg.Client,
  green: pg.Client,
  transfer: Transfer,
  pace: Pace,
  signal: AbortSignal,
): Promise<Moved> {
  const moved = await relayCopy(blue, green, transfer, (bytes) => pace.after(bytes, signal), signal);
  if (moved.rowsOut !== moved.rowsIn)
    throw failure('COPY_MISCOUNT', {
      message: `COPY of ${transfer.table} arrived incomplete`,
      expected: `${moved.rowsOut} rows`,
      found: `${moved.rowsIn}`,
    });
  return { rows: moved.rowsIn, bytes: moved.bytes };
}

import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { failure } from '../errors/failure.ts';
import type { Pace } from './pace.ts';
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
 * must destroy both sessions.
 * @throws OrchestrateError COPY_MISCOUNT when the two servers counted differently; nothing is committed then.
 */
export async function transferRows(
  blue: pg.Client,
  green: pg.Client,
  transfer: Transfer,
  pace: Pace,
  signal: AbortSignal,
): Promise<Moved> {
  let bytes = 0;
  const source = blue.query(copyTo(transfer.out));
  const target = green.query(copyFrom(transfer.into));
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      const wait = pace.after(chunk.length, signal);
      if (wait === undefined) done(null, chunk);
      else
        wait.then(
          () => done(null, chunk),
          (error: unknown) => done(error as Error),
        );
    },
  });
  await pipeline(source, counter, target, { signal });
  if (source.rowCount !== target.rowCount)
    throw failure('COPY_MISCOUNT', {
      message: `COPY of ${transfer.table} arrived incomplete`,
      expected: `${source.rowCount} rows`,
      found: `${target.rowCount}`,
    });
  return { rows: target.rowCount ?? 0, bytes };
}

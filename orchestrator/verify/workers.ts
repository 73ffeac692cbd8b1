import type pg from 'pg';
import type { Pace } from '../copy/pace.ts';
import { isTransient } from '../errors/sqlstate.ts';
import type { Context } from '../state/context.ts';
import type { Chunks } from './chunks.ts';
import { compareScope } from './compare.ts';
import type { Comparison, Readers } from './comparison.ts';
import type { Picture } from './picture.ts';
import { endAll, freezePicture, openReader } from './reader.ts';
import type { Scope } from './scope.ts';
import type { Tally } from './tally.ts';

/** Sessions that read a picture beside those that hold it. */
interface PictureReaders extends Readers {
  readonly blue: pg.Client;
  readonly green: pg.Client;
  readonly control: pg.Client;
  end(): Promise<void>;
}

/** Opens sessions on a picture; each reads with one core at most. */
async function openReaders(ctx: Context, picture: Picture): Promise<PictureReaders> {
  const opened: pg.Client[] = [];
  const open = async (side: 'blue' | 'green', snapshot: string): Promise<pg.Client> => {
    const client = await openReader(ctx, side);
    opened.push(client);
    await freezePicture(client, snapshot);
    return client;
  };
  try {
    const blue = await open('blue', picture.snapshots.blue);
    const green = await open('green', picture.snapshots.green);
    const control =
      picture.control === picture.snapshots.green ? green : await open('green', picture.control);
    return { blue, green, control, end: () => endAll(opened) };
  } catch (error) {
    await endAll(opened);
    throw error;
  }
}

/** How often a chunk is compared again after a lost connection; the picture outlives its readers. */
const ATTEMPTS = 3;

/** Compares chunks until none is left. A worker that loses a session opens new ones on the same picture. */
export async function compareChunks(
  ctx: Context,
  picture: Picture,
  c: Comparison,
  chunks: Chunks,
  tally: Tally,
  pace: Pace,
  signal: AbortSignal,
): Promise<void> {
  let readers: PictureReaders | undefined;
  const compare = async (scope: Scope): Promise<number> => {
    for (let attempt = 1; ; attempt++) {
      try {
        readers ??= await openReaders(ctx, picture);
        const compared = await compareScope(c, readers, scope);
        tally.add(compared);
        return compared.rows;
      } catch (error) {
        await readers?.end();
        readers = undefined;
        if (attempt === ATTEMPTS || !isTransient(error) || signal.aborted) throw error;
      }
    }
  };
  try {
    for (;;) {
      signal.throwIfAborted();
      const scope = await chunks.next();
      if (scope === undefined) return;
      await pace.after(await compare(scope), signal);
    }
  } finally {
    await readers?.end();
  }
}

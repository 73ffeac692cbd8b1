import os from 'node:os';
import type { Context } from '../state/context.ts';
import { type CopyWork, runCopier } from './copier.ts';

/**
 * Copies with so many workers of this process until no chunk is pending. The first one that fails for good stops the
 * others, and its error explains them.
 * @throws SnapshotGone, the context's reason to end, or what `runCopier` throws.
 */
export async function runCrew(ctx: Context, workers: number, work: Omit<CopyWork, 'signal'>): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([ctx.signal, stop.signal]);
  let failed: { readonly error: unknown } | undefined;
  await Promise.all(
    Array.from({ length: workers }, (_, i) =>
      runCopier(ctx, `${os.hostname()}:${process.pid}:${i + 1}`, { ...work, signal }).catch(
        (error: unknown) => {
          failed ??= { error };
          stop.abort(error);
        },
      ),
    ),
  );
  if (ctx.signal.aborted) throw ctx.signal.reason;
  if (failed !== undefined) throw failed.error;
}

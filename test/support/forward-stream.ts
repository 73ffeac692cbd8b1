/** A pair with a running forward stream. */
import { randomBytes } from 'node:crypto';
import { Applier, type ApplierOptions } from '../../orchestrator/stream/applier.ts';
import { type ForwardOptions, ForwardSink } from '../../orchestrator/stream/apply.ts';
import type { Pair } from './databases.ts';
import { copied } from './green-serving.ts';
import type { TestContext } from './run-context.ts';
import { execute, rows } from './sql.ts';

export { bothSides } from './stream-oracle.ts';

export interface ForwardStream {
  readonly ctx: TestContext;
  readonly applier: Applier;
  /** Runs statements on blue as the application. */
  blue(sql: string): Promise<void>;
  /** Waits until everything committed on blue so far is durable on green. */
  drained(timeoutMs?: number): Promise<void>;
  stop(): Promise<void>;
}

/** Copies blue's rows and starts the forward stream after them. */
export async function forwardStream(
  pair: Pair,
  options: ApplierOptions & Partial<ForwardOptions> = {},
): Promise<ForwardStream> {
  return streamOf(pair, await copied(pair), options);
}

/** Starts the forward stream of a pair that was copied before. */
export async function streamOf(
  pair: Pair,
  ctx: TestContext,
  options: ApplierOptions & Partial<ForwardOptions> = {},
): Promise<ForwardStream> {
  const { mode = 'syncing', truncate = 'apply', ...rest } = options;
  const applier = new Applier(ctx, 'forward', new ForwardSink(ctx, { mode, truncate }), rest);
  await applier.start();
  return {
    ctx,
    applier,
    blue: (sql) => execute(pair.blue.urls.app, sql),
    drained: (timeoutMs = 30_000) => drained(pair, ctx, applier, timeoutMs),
    stop: async () => {
      await applier.stop();
    },
  };
}

/** Waits for a barrier of its own: a transactional message that is durable on the other side. */
export async function drained(
  pair: Pair,
  ctx: TestContext,
  applier: Applier,
  timeoutMs = 30_000,
): Promise<void> {
  const content = randomBytes(8).toString('hex');
  const failed = new AbortController();
  applier.onFatal((error) => failed.abort(error));
  const signal = AbortSignal.any([failed.signal, AbortSignal.timeout(timeoutMs)]);
  const arrived = applier.waitForMessage(content, signal);
  arrived.catch(() => {});
  await emit(pair, ctx, content);
  await arrived;
}

/** Writes a transactional message of ours into blue's WAL. */
export async function emit(pair: Pair, ctx: TestContext, content: string): Promise<void> {
  await rows(pair.blue.urls.sync, 'SELECT pg_logical_emit_message(true, $1, $2)', [
    ctx.names.messagePrefix,
    content,
  ]);
}

import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { failure } from '../errors/failure.ts';
import type { Side } from '../pg/side.ts';
import type { Context } from '../state/context.ts';
import { tablesOf } from '../state/names.ts';

/** Transactions that have written to one of the tables and are not over for queries yet; prepared ones have no pid. */
const WRITERS = `
  SELECT DISTINCT l.virtualtransaction AS id, l.pid
  FROM pg_locks AS l
  JOIN pg_class AS c ON c.oid = l.relation
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN unnest($1::text[], $2::text[]) AS w(schema, name) ON w.schema = n.nspname AND w.name = c.relname
  WHERE l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.granted
    AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
    AND l.pid IS DISTINCT FROM pg_backend_pid()`;

interface Writer {
  readonly id: string;
  readonly pid: number | null;
}

/**
 * Waits until every transaction that had written to a side's tables when it was called has ended for queries, too.
 *
 * The walsender sends a commit before queries see it (HISTORIES 1). A transaction keeps its table locks until after it
 * has become visible, so whatever the applier had applied when this was called is visible when it returns: a row read
 * then is not older than what has been applied (HISTORIES 31).
 * @throws OrchestrateError NOT_VISIBLE (transient) naming the pids that are still open after `limitMs`.
 */
export async function awaitVisible(
  client: ClientBase,
  ctx: Context,
  side: Side,
  limitMs = 5_000,
): Promise<void> {
  const tables = tablesOf(side, ctx.schemas);
  const values = [tables.map((t) => t.schema), tables.map((t) => t.name)];
  const { rows: before } = await client.query<Writer>(WRITERS, values);
  let open = before;
  const deadline = Date.now() + limitMs;
  while (open.length > 0) {
    if (Date.now() > deadline)
      throw failure('NOT_VISIBLE', {
        message: `transactions that write to ${tables.map((t) => t.name).join(', ')} on ${side} do not end`,
        expected: `all of them ended within ${limitMs} ms`,
        found: open.map((w) => (w.pid === null ? 'a prepared transaction' : `pid ${w.pid}`)).join(', '),
        fix: 'end them, or wait for them; then the same command again',
      });
    await delay(10, undefined, { signal: ctx.signal });
    const { rows: now } = await client.query<Writer>(WRITERS, values);
    const alive = new Set(now.map((w) => w.id));
    open = open.filter((w) => alive.has(w.id));
  }
}

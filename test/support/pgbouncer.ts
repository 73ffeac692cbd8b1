/** Real pgbouncers in front of a pair of databases, each with a file of targets of its own. */
import { type Pooler, startPooler } from '../../orchestrator/rehearsal/pooler.ts';
import type { Pair } from './databases.ts';
import { requireTool } from './tool.ts';

export const PGBOUNCER = requireTool('pgbouncer', 'apt-get install pgbouncer');

export type Pgbouncer = Pooler;

/** Starts one instance; it ends with `stop`. */
export async function startPgbouncer(pair: Pair, mode: 'transaction' | 'session'): Promise<Pgbouncer> {
  if (!PGBOUNCER.found) throw new Error(PGBOUNCER.reason);
  const urls = { blue: pair.blue.urls.app, green: pair.green.urls.app };
  return startPooler({ program: PGBOUNCER.path, urls, mode });
}

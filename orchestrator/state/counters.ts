import type { ClientBase } from 'pg';
import type { CounterRow } from '../metrics/registry.ts';

const READ = 'SELECT name, labels, value FROM orchestrator.counter';

/** @returns the counters that earlier runners have stored. */
export async function readCounters(green: ClientBase): Promise<CounterRow[]> {
  const { rows } = await green.query<CounterRow>(READ);
  return rows;
}

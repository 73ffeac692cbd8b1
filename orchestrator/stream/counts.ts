import { sqlState } from '../errors/sqlstate.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Direction } from '../pg/side.ts';
import type { Change } from './change.ts';

/** What the gauges of one stream show. */
interface Gauges {
  readonly lagBytes: bigint | undefined;
  readonly lagSeconds: number | undefined;
  readonly queueChanges: number;
  readonly lastMessageAt: number | undefined;
}

/** The numbers of one stream (OPERATIONS 1). */
export class Counts {
  readonly #metrics: Metrics;
  readonly #direction: Direction;
  transactions = 0;
  changes = 0;
  reconnects = 0;

  constructor(metrics: Metrics, direction: Direction) {
    this.#metrics = metrics;
    this.#direction = direction;
  }

  connected(connected: boolean): void {
    this.#metrics.set('stream_connected', { direction: this.#direction }, connected ? 1 : 0);
  }

  reconnect(reason: string): void {
    this.reconnects += 1;
    this.connected(false);
    this.#metrics.add('stream_reconnects_total', { direction: this.#direction, reason }, 1);
  }

  failed(error: unknown): void {
    const state = sqlState(error);
    const sqlClass = state !== undefined && /^[0-9A-Z]{5}$/.test(state) ? state.slice(0, 2) : 'other';
    this.#metrics.add('apply_errors_total', { direction: this.#direction, class: sqlClass }, 1);
  }

  /** Changes were taken from the stream. */
  received(changes: readonly Change[]): Tally {
    const tally = tallyOf(changes);
    this.#add('changes_received_total', tally);
    return tally;
  }

  /** They are durable. */
  applied(transactions: number, tallies: readonly Tally[], seconds: number): void {
    this.transactions += transactions;
    for (const tally of tallies) {
      for (const [, { count }] of tally) this.changes += count;
      this.#add('changes_applied_total', tally);
    }
    this.#metrics.observe('apply_batch_duration_seconds', { direction: this.#direction }, seconds);
  }

  report(g: Gauges): void {
    const labels = { direction: this.#direction };
    this.#metrics.set(
      'replication_lag_bytes',
      labels,
      g.lagBytes === undefined ? undefined : Number(g.lagBytes),
    );
    this.#metrics.set('replication_lag_seconds', labels, g.lagSeconds);
    this.#metrics.set('queue_changes', labels, g.queueChanges);
    this.#metrics.set(
      'replication_last_message_timestamp_seconds',
      labels,
      g.lastMessageAt === undefined ? undefined : g.lastMessageAt / 1_000,
    );
  }

  #add(name: string, tally: Tally): void {
    for (const [, { table, op, count }] of tally)
      this.#metrics.add(name, { direction: this.#direction, table, op }, count);
  }
}

/** How many changes of each kind there were in each table. */
export type Tally = ReadonlyMap<
  string,
  { readonly table: string; readonly op: string; readonly count: number }
>;

function tallyOf(changes: readonly Change[]): Tally {
  const counts = new Map<string, { table: string; op: string; count: number }>();
  const entryOf = (op: string, table: string): { table: string; op: string; count: number } => {
    const key = `${op} ${table}`;
    const entry = counts.get(key) ?? { table, op, count: 0 };
    counts.set(key, entry);
    return entry;
  };
  // Most changes are of the same kind and table as the one before.
  let last: { table: string; op: string; count: number } | undefined;
  for (const change of changes) {
    if (change.kind === 'truncate')
      for (const { name } of change.relations) entryOf(change.kind, name).count += 1;
    else {
      const { name } = change.relation;
      if (last === undefined || last.op !== change.kind || last.table !== name)
        last = entryOf(change.kind, name);
      last.count += 1;
    }
  }
  return counts;
}

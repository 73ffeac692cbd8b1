import {
  CHANGES,
  DIRECTIONS,
  ERROR_CLASSES,
  FENCE_STATES,
  FREEZE_KINDS,
  HANDOVER_KINDS,
  OUTCOMES,
  PHASES,
  product,
  RECONNECT_REASONS,
  SIDES,
  TARGET_TABLES,
  WAL_STATUSES,
} from './labels.ts';
import type { Labels } from './metrics.ts';

/**
 * The catalogue of metrics (OPERATIONS 1). Names are without their prefix; all but `build_info` also carry
 * `migration`. A gauge is absent until its value is known; counters and histograms begin at 0 in every label set of
 * `initial`.
 */
export interface MetricEntry {
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  readonly initial?: readonly Labels[];
  /** Of a state set: the label that names the state, and all of its values. */
  readonly states?: { readonly label: string; readonly values: readonly string[] };
  /** Of a histogram: upper bounds in seconds. */
  readonly buckets?: readonly number[];
  /** Known before the lease is held: a waiting replica exports it too. */
  readonly always?: true;
}

export const PREFIX = 'orchestrate_';

const gauge = (help: string, ...labels: string[]): MetricEntry => ({ type: 'gauge', help, labels });
const counter = (help: string, labels: string[], initial: readonly Labels[]): MetricEntry => ({
  type: 'counter',
  help,
  labels,
  initial,
});
const histogram = (
  help: string,
  labels: string[],
  initial: readonly Labels[],
  buckets: number[],
): MetricEntry => ({ type: 'histogram', help, labels, initial, buckets });
const states = (help: string, label: string, values: readonly string[], ...others: string[]) =>
  ({ type: 'gauge', help, labels: [...others, label], states: { label, values } }) as const;

const NO_LABELS: readonly Labels[] = [{}];
const PER_DIRECTION = product({ direction: DIRECTIONS });
const PER_TARGET = product({ table: TARGET_TABLES });

export const METRICS = {
  build_info: { ...gauge('1, with what is running.', 'version', 'revision', 'node_version'), always: true },
  migration_info: {
    ...gauge('1, with where it runs: hosts without credentials.', 'blue', 'green', 'traffic'),
    always: true,
  },
  phase: states('1 for the phase the migration is in, 0 for the others.', 'phase', PHASES),
  phase_start_timestamp_seconds: gauge('When the phase began.', 'phase'),
  serving_side: states('1 for the side that takes writes, 0 for the other.', 'side', SIDES),
  leader: { ...gauge('1 while this process holds the lease, 0 while it waits for it.'), always: true },

  copy_rows_total: counter('Rows copied, retries included.', ['table'], PER_TARGET),
  copy_bytes_total: counter('Bytes copied, retries included.', ['table'], PER_TARGET),
  copy_rows_done: gauge('Rows of finished chunks.', 'table'),
  copy_rows_expected: gauge('Rows the copy will have done in the end.', 'table'),
  copy_completion_timestamp_seconds: gauge('When the copy is expected to end.'),
  copy_chunk_duration_seconds: histogram(
    'Time for one chunk of the copy.',
    [],
    NO_LABELS,
    [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  ),

  replication_lag_seconds: gauge(
    'Time from the commit on the serving side until it is applied.',
    'direction',
  ),
  replication_lag_bytes: gauge('WAL of the serving side that is not applied yet.', 'direction'),
  replication_last_message_timestamp_seconds: gauge('When the stream last said anything.', 'direction'),
  stream_connected: gauge('1 while the replication stream is connected.', 'direction'),
  stream_reconnects_total: counter(
    'Times the stream had to be opened anew.',
    ['direction', 'reason'],
    product({ direction: DIRECTIONS, reason: RECONNECT_REASONS }),
  ),
  changes_received_total: counter('Changes received.', ['direction', 'table', 'op'], CHANGES),
  changes_applied_total: counter('Changes durably applied.', ['direction', 'table', 'op'], CHANGES),
  apply_batch_duration_seconds: histogram(
    'Time for one transaction on the standby.',
    ['direction'],
    PER_DIRECTION,
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
  ),
  apply_errors_total: counter(
    'Errors while applying, by class of SQLSTATE.',
    ['direction', 'class'],
    product({ direction: DIRECTIONS, class: ERROR_CLASSES }),
  ),
  queue_changes: gauge('Changes received and not yet applied.', 'direction'),

  slot_retained_wal_bytes: gauge('WAL the server keeps for the slot.', 'side', 'slot'),
  slot_safe_wal_bytes: gauge(
    'WAL that may still be written before the slot is lost; absent when unlimited.',
    'side',
    'slot',
  ),
  slot_wal_status: states("1 for the slot's wal_status.", 'status', WAL_STATUSES, 'side', 'slot'),
  oldest_transaction_age_seconds: gauge('Age of the oldest open transaction.', 'side'),
  database_size_bytes: gauge('Size of the database.', 'side'),
  query_probe_duration_seconds: gauge("A timed read of one user's settings.", 'side', 'query'),
  table_rows: gauge('Rows of a table, as the server estimates them.', 'side', 'table'),
  parked_rows: gauge('Source rows without an image in the new model.', 'reason'),

  verify_rows_compared_total: counter('Rows compared by sweeps.', ['table'], PER_TARGET),
  verify_mismatched_rows: gauge('Rows that differed in the last sweep.', 'table', 'kind'),
  verify_last_success_timestamp_seconds: gauge('When the last clean sweep ended.'),
  verify_delta_keys: gauge('Keys changed since the last clean sweep.'),

  gate_passed: gauge('1 when the gate of a handover is passed, 0 when it is not.', 'gate'),
  freeze_active: gauge('1 while a handover keeps writes from the serving side.'),
  freeze_start_timestamp_seconds: gauge('When the latest freeze began.'),
  freeze_budget_seconds: gauge('Longest freeze the operator allows.'),
  freeze_predicted_seconds: gauge('Freeze a handover would need now.'),
  freeze_duration_seconds: histogram(
    'Time without writes.',
    ['kind'],
    product({ kind: FREEZE_KINDS }),
    [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  ),
  handover_attempts_total: counter(
    'Handovers that were asked for.',
    ['kind', 'outcome'],
    product({ kind: HANDOVER_KINDS, outcome: OUTCOMES }),
  ),
  handover_step_duration_seconds: gauge('Time of a step in the last handover.', 'kind', 'step'),
  standby_writes_refused_total: counter(
    'Writes that the closed fence refused: somebody writes to the wrong side.',
    ['side'],
    product({ side: SIDES }),
  ),
  schema_drift: gauge('1 when the catalog is not the one that was compared.', 'side'),
  fence_state: states('1 for the state of the fence.', 'state', FENCE_STATES, 'side'),
  decision_timestamp_seconds: gauge('When the newest handover was decided.'),
  rehearsal_last_timestamp_seconds: gauge('When a rehearsal last ended so.', 'outcome'),
  pool_connections: gauge('Sessions of this program on a server, by what they do.', 'side', 'state'),
  scrape_errors_total: counter('Metrics that could not be read in a scrape.', [], NO_LABELS),
} as const satisfies Readonly<Record<string, MetricEntry>>;

export type MetricName = keyof typeof METRICS;
export const METRIC_NAMES = Object.keys(METRICS) as MetricName[];

/** @returns the entry of a name; undefined when the catalogue has none. */
export function metricEntry(name: string): MetricEntry | undefined {
  return (METRICS as Readonly<Record<string, MetricEntry>>)[name];
}

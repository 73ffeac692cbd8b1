import type { Row } from './panel.ts';
import { of, rateOf, S } from './selector.ts';

export const COUNTS: Row = {
  title: 'Counts and verification',
  height: 7,
  panels: [
    {
      title: 'Rows, by side',
      description: 'As each server estimates them; exact only after ANALYZE.',
      kind: 'timeseries',
      unit: 'short',
      width: 6,
      queries: [{ expr: of('table_rows'), legend: '{{side}} {{table}}' }],
      shown: 'syncing',
    },
    {
      title: 'Green − blue',
      description:
        'Users of green and parked rows, less the rows of blue, by estimate: near 0. The sweep is what proves it.',
      kind: 'stat',
      unit: 'short',
      width: 3,
      queries: [
        {
          expr: `sum(${of('table_rows', 'side="green"', 'table="user"')}) + sum(${of('parked_rows')}) - sum(${of('table_rows', 'side="blue"', 'table="user_settings"')})`,
          legend: 'rows',
        },
      ],
      shown: 'syncing',
    },
    {
      title: 'Parked rows',
      description: 'Rows without an image in the new model, by reason: see --accept-parked.',
      kind: 'bargauge',
      unit: 'short',
      width: 3,
      queries: [{ expr: of('parked_rows'), legend: '{{reason}}' }],
      shown: 'syncing',
    },
    {
      title: 'Differences, by table and kind',
      description:
        'Of the last sweep. `orchestrate verify` names the keys, `orchestrate verify --repair` mends them.',
      kind: 'bargauge',
      unit: 'short',
      width: 6,
      queries: [{ expr: of('verify_mismatched_rows'), legend: '{{table}} {{kind}}' }],
      shown: 'syncing',
      thresholds: [[1, 'red']],
    },
    {
      title: 'Age of the last clean sweep',
      description:
        'Above a day: VerifyStale. A cutover sweeps by itself when it is older than --max-sweep-age.',
      kind: 'stat',
      unit: 's',
      width: 3,
      queries: [{ expr: `time() - max(${of('verify_last_success_timestamp_seconds')})`, legend: 'age' }],
      shown: 'syncing',
      thresholds: [
        [3_600, 'orange'],
        [86_400, 'red'],
      ],
    },
    {
      title: 'Schema drift',
      description: 'The catalog is not the one that was compared: somebody changed a table.',
      kind: 'stat',
      unit: 'none',
      width: 3,
      queries: [{ expr: of('schema_drift'), legend: '{{side}}' }],
      shown: 'syncing',
      words: { 0: ['none', 'green'], 1: ['changed', 'red'] },
    },
    {
      title: 'Keys changed since the sweep',
      description: 'They are compared inside the freeze: what changed costs time there, not what exists.',
      kind: 'timeseries',
      unit: 'short',
      width: 8,
      queries: [{ expr: of('verify_delta_keys'), legend: 'keys' }],
      shown: 'syncing',
    },
    {
      title: 'Rows compared',
      description: 'By sweeps, a second.',
      kind: 'timeseries',
      unit: 'rowsps',
      width: 8,
      queries: [{ expr: rateOf('verify_rows_compared_total', 'table'), legend: '{{table}}' }],
      shown: 'syncing',
      stacked: true,
    },
    {
      title: 'A read of the application',
      description:
        "A timed read of one user's settings through each schema: what the new tables cost its users.",
      kind: 'timeseries',
      unit: 's',
      width: 8,
      queries: [{ expr: of('query_probe_duration_seconds'), legend: '{{side}} {{query}}' }],
      shown: 'syncing',
    },
  ],
};

export const HANDOVER: Row = {
  title: 'Handover and rehearsals',
  height: 8,
  panels: [
    {
      title: 'Steps of the last handover',
      description: 'What each step took. freeze to open is what clients feel.',
      kind: 'bargauge',
      unit: 's',
      width: 8,
      queries: [{ expr: of('handover_step_duration_seconds'), legend: '{{kind}} {{step}}' }],
      shown: 'rehearsed',
    },
    {
      title: 'Freeze, against the budget',
      description:
        'Mean time without writes, by kind, since the counters began. Longer than the budget: FreezeOverBudget.',
      kind: 'bargauge',
      unit: 's',
      width: 4,
      queries: [
        {
          expr: `sum by (kind) (orchestrate_freeze_duration_seconds_sum{${S}}) / (sum by (kind) (orchestrate_freeze_duration_seconds_count{${S}}) > 0)`,
          legend: '{{kind}}',
        },
        { expr: of('freeze_budget_seconds'), legend: 'budget' },
      ],
      shown: 'rehearsed',
    },
    {
      title: 'Attempts',
      description:
        'Every cutover and revert that was asked for, by how it ended. aborted or unfinished: HandoverFailed.',
      kind: 'table',
      unit: 'short',
      width: 5,
      queries: [
        {
          expr: `sum by (kind, outcome) (${of('handover_attempts_total')}) > 0`,
          legend: '{{kind}} {{outcome}}',
        },
      ],
      shown: 'rehearsed',
    },
    {
      title: 'Writes refused on the standby',
      description: 'Somebody still writes to the wrong side: StandbyWrites.',
      kind: 'timeseries',
      unit: 'short',
      width: 4,
      queries: [
        {
          expr: `sum by (side) (increase(${of('standby_writes_refused_total')}[$__rate_interval]))`,
          legend: '{{side}}',
        },
      ],
      shown: 'syncing',
      thresholds: [[1, 'red']],
    },
    {
      title: 'Last rehearsal',
      description: 'Time since `orchestrate cutover --rehearse` last ended so.',
      kind: 'stat',
      unit: 's',
      width: 3,
      queries: [{ expr: `time() - ${of('rehearsal_last_timestamp_seconds')}`, legend: '{{outcome}}' }],
      shown: 'rehearsed',
    },
    {
      title: 'Fences',
      description:
        'Exactly one side is open, but for the moment of a handover. Closed on both for long: DecidedNotOpen.',
      kind: 'state-timeline',
      unit: 'none',
      width: 12,
      queries: [{ expr: `${of('fence_state')} == 1`, legend: '{{side}} {{state}}' }],
      shown: 'syncing',
    },
    {
      title: 'Freeze under way',
      description: 'Writes are kept from the serving side now, and since when.',
      kind: 'timeseries',
      unit: 's',
      width: 8,
      queries: [
        {
          expr: `(time() - ${of('freeze_start_timestamp_seconds')}) * ${of('freeze_active')}`,
          legend: 'frozen for',
        },
        { expr: of('freeze_budget_seconds'), legend: 'budget' },
      ],
      shown: 'rehearsed',
    },
    {
      title: 'Last decision',
      description: 'Time since the writes were last handed over.',
      kind: 'stat',
      unit: 's',
      width: 4,
      queries: [{ expr: `time() - ${of('decision_timestamp_seconds')}`, legend: 'decided' }],
      shown: 'handed-over',
    },
  ],
};

export const RUNTIME: Row = {
  title: 'Runtime',
  height: 7,
  collapsed: true,
  panels: [
    {
      title: 'Runners',
      description: 'Exactly one leads; a second one waits. Anything else: LeaderCount.',
      kind: 'timeseries',
      unit: 'short',
      width: 4,
      queries: [{ expr: of('leader'), legend: '{{instance}}' }],
      shown: 'always',
    },
    {
      title: 'Version',
      description: 'What runs, and where it connects: hosts without credentials.',
      kind: 'table',
      unit: 'none',
      width: 8,
      queries: [
        { expr: 'orchestrate_build_info{job=~"$job"}', legend: '{{version}}' },
        { expr: of('migration_info'), legend: '{{blue}} {{green}}' },
      ],
      shown: 'always',
    },
    {
      title: 'CPU',
      description: 'Of the process; 1 is one core.',
      kind: 'timeseries',
      unit: 'short',
      width: 4,
      queries: [
        {
          expr: `rate(process_cpu_seconds_total{${S}}[$__rate_interval])`,
          legend: '{{instance}}',
        },
      ],
      shown: 'always',
    },
    {
      title: 'Memory',
      description: 'Resident. It stays below 200 MiB, whatever the size of a transaction.',
      kind: 'timeseries',
      unit: 'bytes',
      width: 4,
      queries: [{ expr: `process_resident_memory_bytes{${S}}`, legend: '{{instance}}' }],
      shown: 'always',
      thresholds: [[209_715_200, 'orange']],
    },
    {
      title: 'Event loop',
      description: 'How late the one thread is. Above a second, probes begin to fail.',
      kind: 'timeseries',
      unit: 's',
      width: 4,
      queries: [{ expr: `nodejs_eventloop_lag_p99_seconds{${S}}`, legend: '{{instance}} p99' }],
      shown: 'always',
    },
    {
      title: 'Sessions',
      description: 'Our own, on each server, by what they do: what we take of its max_connections.',
      kind: 'timeseries',
      unit: 'short',
      width: 12,
      queries: [{ expr: of('pool_connections'), legend: '{{side}} {{state}}' }],
      shown: 'copying',
      stacked: true,
    },
    {
      title: 'Metrics that could not be read',
      description: 'A collector failed; the scrape went on without it.',
      kind: 'timeseries',
      unit: 'short',
      width: 12,
      queries: [{ expr: `increase(${of('scrape_errors_total')}[$__rate_interval])`, legend: '{{instance}}' }],
      shown: 'always',
      thresholds: [[1, 'red']],
    },
  ],
};

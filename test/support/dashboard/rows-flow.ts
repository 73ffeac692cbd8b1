import type { Row } from './panel.ts';
import { of, rateOf, spread } from './selector.ts';

const CONNECTED = { 0: ['down', 'red'], 1: ['connected', 'green'] } as const;

export const COPY: Row = {
  title: 'Copy',
  height: 7,
  panels: [
    {
      title: 'Rows copied',
      description: 'Rows a second by target, retries included. 0 for ten minutes raises CopyStalled.',
      kind: 'timeseries',
      unit: 'rowsps',
      width: 6,
      queries: [{ expr: rateOf('copy_rows_total', 'table'), legend: '{{table}}' }],
      shown: 'copying',
      stacked: true,
    },
    {
      title: 'Bytes copied',
      description: 'Bytes of the COPY stream a second by target, retries included.',
      kind: 'timeseries',
      unit: 'Bps',
      width: 6,
      queries: [{ expr: rateOf('copy_bytes_total', 'table'), legend: '{{table}}' }],
      shown: 'copying',
      stacked: true,
    },
    {
      title: 'Progress',
      description: 'Rows of finished chunks by target, and what they will be in the end.',
      kind: 'timeseries',
      unit: 'short',
      width: 6,
      queries: [
        { expr: of('copy_rows_done'), legend: '{{table}}' },
        { expr: of('copy_rows_expected'), legend: '{{table}} expected' },
      ],
      shown: 'copying',
    },
    {
      title: 'Time of a chunk',
      description: 'One chunk: all targets, one transaction on green.',
      kind: 'timeseries',
      unit: 's',
      width: 6,
      queries: spread('copy_chunk_duration_seconds'),
      shown: 'copying',
    },
  ],
};

export const REPLICATION: Row = {
  title: 'Replication',
  height: 7,
  panels: [
    {
      title: 'Lag in time',
      description: 'From the commit on the serving side until it is applied. Above 10 s: ReplicationLagHigh.',
      kind: 'timeseries',
      unit: 's',
      width: 6,
      queries: [{ expr: of('replication_lag_seconds'), legend: '{{direction}}' }],
      shown: 'syncing',
      thresholds: [[10, 'red']],
    },
    {
      title: 'Lag in bytes',
      description: 'WAL of the serving side that is not applied yet. The gate `lag` looks at this.',
      kind: 'timeseries',
      unit: 'bytes',
      width: 6,
      queries: [{ expr: of('replication_lag_bytes'), legend: '{{direction}}' }],
      shown: 'syncing',
    },
    {
      title: 'Changes received and applied',
      description: 'Applied falls behind received: the standby is the bottleneck.',
      kind: 'timeseries',
      unit: 'ops',
      width: 6,
      queries: [
        { expr: rateOf('changes_received_total', 'direction'), legend: '{{direction}} received' },
        { expr: rateOf('changes_applied_total', 'direction'), legend: '{{direction}} applied' },
      ],
      shown: 'syncing',
    },
    {
      title: 'Applied, by table and kind',
      description: 'What the application does.',
      kind: 'timeseries',
      unit: 'ops',
      width: 6,
      queries: [
        { expr: `${rateOf('changes_applied_total', 'table', 'op')} > 0`, legend: '{{table}} {{op}}' },
      ],
      shown: 'syncing',
      stacked: true,
    },
    {
      title: 'Time of a batch',
      description: 'One transaction on the standby.',
      kind: 'timeseries',
      unit: 's',
      width: 6,
      queries: spread('apply_batch_duration_seconds', 'direction', '{{direction}} '),
      shown: 'syncing',
    },
    {
      title: 'Waiting changes',
      description: 'Received and not yet applied: bounded, whatever the size of a transaction.',
      kind: 'timeseries',
      unit: 'short',
      width: 6,
      queries: [{ expr: of('queue_changes'), legend: '{{direction}}' }],
      shown: 'syncing',
    },
    {
      title: 'Streams',
      description: 'Down for long with green serving: RevertNotSafe.',
      kind: 'state-timeline',
      unit: 'none',
      width: 4,
      queries: [{ expr: of('stream_connected'), legend: '{{direction}}' }],
      shown: 'syncing',
      words: CONNECTED,
    },
    {
      title: 'Errors and reconnects',
      description: 'By class of SQLSTATE, and by what ended the stream. See ApplyErrors.',
      kind: 'timeseries',
      unit: 'short',
      width: 5,
      queries: [
        {
          expr: `sum by (direction, class) (increase(${of('apply_errors_total')}[$__rate_interval]))`,
          legend: '{{direction}} {{class}}',
        },
        {
          expr: `sum by (direction, reason) (increase(${of('stream_reconnects_total')}[$__rate_interval]))`,
          legend: '{{direction}} {{reason}}',
        },
      ],
      shown: 'syncing',
    },
    {
      title: 'Last message',
      description:
        'Time since the stream last said anything; a server that is well says something every few seconds.',
      kind: 'stat',
      unit: 's',
      width: 3,
      queries: [
        { expr: `time() - ${of('replication_last_message_timestamp_seconds')}`, legend: '{{direction}}' },
      ],
      shown: 'syncing',
      thresholds: [
        [30, 'orange'],
        [60, 'red'],
      ],
    },
  ],
};

export const SAFETY: Row = {
  title: 'Source safety',
  height: 7,
  panels: [
    {
      title: 'WAL kept for the slots',
      description: 'What the servers keep because of us. Above 10 GiB: SlotWalRetentionHigh.',
      kind: 'timeseries',
      unit: 'bytes',
      width: 6,
      queries: [{ expr: of('slot_retained_wal_bytes'), legend: '{{side}} {{slot}}' }],
      shown: 'syncing',
      thresholds: [[10_737_418_240, 'red']],
    },
    {
      title: 'Headroom of the slots',
      description:
        'WAL that may still be written before a slot is lost. Unknown where max_slot_wal_keep_size is unlimited.',
      kind: 'timeseries',
      unit: 'bytes',
      width: 6,
      queries: [{ expr: of('slot_safe_wal_bytes'), legend: '{{side}} {{slot}}' }],
      shown: 'syncing',
    },
    {
      title: 'State of the slots',
      description: 'reserved is well; unreserved is about to be lost; lost ends the migration: SlotLost.',
      kind: 'state-timeline',
      unit: 'none',
      width: 6,
      queries: [{ expr: `${of('slot_wal_status')} == 1`, legend: '{{side}} {{status}}' }],
      shown: 'syncing',
    },
    {
      title: 'Oldest transaction',
      description: 'Of others. A long one on blue holds back the slot, and a handover waits for it.',
      kind: 'timeseries',
      unit: 's',
      width: 3,
      queries: [{ expr: of('oldest_transaction_age_seconds'), legend: '{{side}}' }],
      shown: 'copying',
      thresholds: [[300, 'orange']],
    },
    {
      title: 'Database size',
      description: 'Of each side, with its indexes.',
      kind: 'timeseries',
      unit: 'bytes',
      width: 3,
      queries: [{ expr: of('database_size_bytes'), legend: '{{side}}' }],
      shown: 'copying',
    },
  ],
};

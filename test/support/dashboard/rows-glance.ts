import type { Row } from './panel.ts';
import { of } from './selector.ts';

const YES_NO = { 0: ['no', 'red'], 1: ['yes', 'green'] } as const;

export const GLANCE: Row = {
  title: 'At a glance',
  height: 4,
  panels: [
    {
      title: 'Phase',
      description: 'Where the migration is. `orchestrate status` says the same, and what to do next.',
      kind: 'stat',
      unit: 'none',
      width: 4,
      queries: [{ expr: `${of('phase')} == 1`, legend: '{{phase}}' }],
      shown: 'always',
      byName: true,
    },
    {
      title: 'Writes go to',
      description: 'The side that takes writes. Nothing here while neither is known to.',
      kind: 'stat',
      unit: 'none',
      width: 3,
      queries: [{ expr: `${of('serving_side')} == 1`, legend: '{{side}}' }],
      shown: 'syncing',
      byName: true,
    },
    {
      title: 'Handover',
      description: 'GO when every gate is passed. NO-GO names its gates in the next row.',
      kind: 'stat',
      unit: 'none',
      width: 3,
      queries: [{ expr: `min(${of('gate_passed')})`, legend: 'gates' }],
      shown: 'syncing',
      words: { 0: ['NO-GO', 'red'], 1: ['GO', 'green'] },
    },
    {
      title: 'Lag',
      description: 'Time from the commit on the serving side until it is on the standby.',
      kind: 'stat',
      unit: 's',
      width: 3,
      queries: [{ expr: `max(${of('replication_lag_seconds')})`, legend: 'lag' }],
      shown: 'syncing',
      thresholds: [
        [5, 'orange'],
        [10, 'red'],
      ],
    },
    {
      title: 'Copied',
      description: 'Rows of finished chunks, of all that will be copied.',
      kind: 'stat',
      unit: 'percent',
      width: 2,
      queries: [
        {
          expr: `100 * sum(${of('copy_rows_done')}) / sum(${of('copy_rows_expected')})`,
          legend: 'copied',
        },
      ],
      shown: 'copying',
    },
    {
      title: 'Copy ends',
      description: 'When the copy is expected to end, or has ended.',
      kind: 'stat',
      unit: 'dateTimeFromNow',
      width: 3,
      queries: [{ expr: `max(${of('copy_completion_timestamp_seconds')}) * 1000`, legend: 'end' }],
      shown: 'copying',
    },
    {
      title: 'Differences',
      description:
        'Rows that differed in the last sweep. Anything but 0 forbids a cutover: see VerifyMismatch.',
      kind: 'stat',
      unit: 'short',
      width: 2,
      queries: [{ expr: `sum(${of('verify_mismatched_rows')})`, legend: 'rows' }],
      shown: 'syncing',
      thresholds: [[1, 'red']],
    },
    {
      title: 'Revert is safe',
      description:
        'Green serves and its changes flow to blue. Unknown while blue serves: there is nothing to revert.',
      kind: 'stat',
      unit: 'none',
      width: 2,
      queries: [
        {
          expr: `max(${of('serving_side', 'side="green"')}) * max(${of('stream_connected', 'direction="reverse"')})`,
          legend: 'revert',
        },
      ],
      shown: 'handed-over',
      words: YES_NO,
    },
    {
      title: 'Alerts',
      description: 'Alerts of this migration that fire now. Each has a runbook of its name.',
      kind: 'stat',
      unit: 'short',
      width: 2,
      queries: [
        {
          expr: 'count(ALERTS{alertstate="firing",migration="$migration"}) or vector(0)',
          legend: 'firing',
        },
      ],
      shown: 'always',
      thresholds: [[1, 'red']],
    },
  ],
};

export const GATES: Row = {
  title: 'Gates',
  height: 9,
  panels: [
    {
      title: 'Gates of a handover',
      description: 'Judged again and again, not only when a handover is asked for.',
      kind: 'state-timeline',
      unit: 'none',
      width: 16,
      queries: [{ expr: of('gate_passed'), legend: '{{gate}}' }],
      shown: 'syncing',
      words: { 0: ['closed', 'red'], 1: ['passed', 'green'] },
    },
    {
      title: 'Freeze: predicted, and budget',
      description: 'The freeze a handover would need now. Above the budget the gate `freeze` closes.',
      kind: 'timeseries',
      unit: 's',
      width: 8,
      queries: [
        { expr: of('freeze_predicted_seconds'), legend: 'predicted' },
        { expr: of('freeze_budget_seconds'), legend: 'budget' },
      ],
      shown: 'syncing',
    },
  ],
};

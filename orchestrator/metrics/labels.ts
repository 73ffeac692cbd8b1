import type { Labels } from './metrics.ts';

/** The label values that are known beforehand. Low cardinality only: a table is a label, a key never. */
export const PHASES = [
  'created',
  'prepared',
  'copying',
  'building',
  'syncing',
  'handing-over',
  'finalized',
  'aborting',
  'aborted',
] as const;
export const SIDES = ['blue', 'green'] as const;
export const DIRECTIONS = ['forward', 'reverse'] as const;
export const ORG_TABLES = ['role', 'org', 'user', 'org_user', 'settings'] as const;
/** What the copy fills, and what a sweep compares. */
export const TARGET_TABLES = ['org', 'user', 'org_user', 'settings', 'parked'] as const;
export const OPS = ['insert', 'update', 'delete', 'truncate'] as const;
export const MISMATCHES = ['missing', 'extra', 'different'] as const;
export const PARK_REASONS = ['null_key', 'empty_key', 'duplicate'] as const;
export const FENCE_STATES = ['open', 'leased', 'closed'] as const;
export const WAL_STATUSES = ['reserved', 'extended', 'unreserved', 'lost'] as const;
export const FREEZE_KINDS = ['cutover', 'revert', 'rehearsal'] as const;
export const HANDOVER_KINDS = ['cutover', 'revert'] as const;
export const OUTCOMES = ['done', 'dry-run', 'rehearsed', 'no-go', 'aborted', 'unfinished'] as const;
export const RECONNECT_REASONS = ['connect', 'ended', 'timeout', 'apply'] as const;
/** Classes of SQLSTATE that applying has met; others appear when they happen. */
export const ERROR_CLASSES = ['08', '22', '23', '40', '42', '53', '55', '57', 'other'] as const;

/** @returns every combination of the values, as label sets. */
export function product(values: Readonly<Record<string, readonly string[]>>): Labels[] {
  let sets: Labels[] = [{}];
  for (const [name, choices] of Object.entries(values))
    sets = sets.flatMap((set) => choices.map((choice) => ({ ...set, [name]: choice })));
  return sets;
}

/** Forward changes come from one table, reverse changes from the organisational model. */
export const CHANGES: readonly Labels[] = [
  ...product({ direction: ['forward'], table: ['user_settings'], op: OPS }),
  ...product({ direction: ['reverse'], table: ORG_TABLES, op: OPS }),
];

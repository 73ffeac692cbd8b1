/** What a row of the standby is, seen from the serving side. */
export type MismatchKind = 'missing' | 'extra' | 'different';
export const MISMATCH_KINDS: readonly MismatchKind[] = ['missing', 'extra', 'different'];

/** Tables a difference can lie in: those of the org model and `parked` on green, `user_settings` on blue. */
export const COMPARED_TABLES = [
  'role',
  'org',
  'user',
  'org_user',
  'settings',
  'parked',
  'user_settings',
] as const;
export type ComparedTable = (typeof COMPARED_TABLES)[number];

/** One difference, named by key and columns; values never leave PostgreSQL (DESIGN 6). */
export interface Mismatch {
  readonly table: ComparedTable;
  /** The source id the row belongs to; for `role` the role's own id. */
  readonly key: number;
  readonly kind: MismatchKind;
  /** Columns that differ, under the names of `table`; empty when the row is missing or extra. */
  readonly columns: readonly string[];
}

/** Sorts by key, then table: the same differences always read the same. */
export function inOrder(mismatches: readonly Mismatch[]): Mismatch[] {
  return [...mismatches].sort(
    (a, b) => a.key - b.key || a.table.localeCompare(b.table) || a.kind.localeCompare(b.kind),
  );
}

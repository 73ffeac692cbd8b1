import type { HandoverKind, Side } from '../pg/side.ts';

/** Clients that a decided handover has not brought to the new side yet: the traffic driver failed. */
export interface Unmoved {
  readonly attempt: string;
  /** The side they were on. */
  readonly from: Side;
}

/**
 * Where a migration is. Set by `changeState` only, stored on green (`orchestrator.run`), and so it survives restarts.
 * Who serves is not decided here: it is a view of the two sides' `(generation, role)` rows.
 */
export type State =
  | { readonly phase: 'created' }
  /** Control schemas, publication, slot and green's schema exist; no row has moved. */
  | { readonly phase: 'prepared'; readonly madeOrgTables: boolean }
  | { readonly phase: 'copying'; readonly madeOrgTables: boolean }
  | { readonly phase: 'building'; readonly madeOrgTables: boolean }
  /** Sync flows from `serving`. */
  | {
      readonly phase: 'syncing';
      readonly madeOrgTables: boolean;
      readonly serving: Side;
      readonly unmoved?: Unmoved;
    }
  | {
      readonly phase: 'handing-over';
      readonly madeOrgTables: boolean;
      /** What an earlier handover has left to do, and this one has not done unless it is decided. */
      readonly unmoved?: Unmoved;
      readonly serving: Side;
      readonly kind: HandoverKind;
      readonly attempt: string;
      /** Which traffic driver the clients are moved with. */
      readonly driver?: string;
    }
  | { readonly phase: 'finalized'; readonly serving: Side }
  | { readonly phase: 'aborting'; readonly madeOrgTables: boolean; readonly left: readonly string[] }
  | { readonly phase: 'aborted' };

export type Phase = State['phase'];

/** Every legal move; whatever is not listed is refused. */
export const MOVES: Readonly<Record<Phase, readonly Phase[]>> = {
  created: ['prepared', 'aborting'],
  prepared: ['copying', 'aborting'],
  copying: ['copying', 'building', 'aborting'],
  building: ['building', 'syncing', 'aborting'],
  // `aborting` only before the first decision; the phase that aborts checks the generation.
  syncing: ['handing-over', 'finalized', 'aborting'],
  // Back to syncing either way: undone (same serving side) or done (the other one).
  'handing-over': ['syncing', 'aborting'],
  finalized: [],
  aborting: ['aborting', 'aborted'],
  aborted: [],
};

/** @returns whether the move is in the table. */
export function mayMove(from: Phase, to: Phase): boolean {
  return MOVES[from].includes(to);
}

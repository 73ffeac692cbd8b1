/**
 * What a command asks of the runner: stored as JSON in `orchestrator.request`, so every value is text, number or
 * boolean. Limits that were not given on the command are absent: the runner's own settings hold then.
 */
export interface HandoverOptions {
  /** Judge the gates, predict, touch nothing. */
  readonly dryRun: boolean;
  /** Freeze, verify and arm for real, then undo: measures without switching. */
  readonly rehearse: boolean;
  readonly reason?: string;
  readonly freezeBudgetMs?: number;
  /** Bytes, in decimal digits. */
  readonly maxLagBytes?: string;
  readonly maxSweepAgeMs?: number;
  readonly acceptParked?: number | 'all';
  /** End sessions that keep the write lock from the freeze. */
  readonly terminateBlockers?: boolean;
}

export interface FinalizeOptions {
  readonly reason?: string;
  /** Opens the standby's closed fence too: `--release-blue` or `--release-green`, whichever side is standby. */
  readonly release?: 'blue' | 'green';
  readonly keepControl: boolean;
  readonly keepCompatView: boolean;
}

export type Request =
  | { readonly command: 'verify'; readonly options: { readonly repair: boolean; readonly reason?: string } }
  | { readonly command: 'cutover' | 'revert'; readonly options: HandoverOptions }
  | { readonly command: 'abort'; readonly options: { readonly reason?: string } }
  | { readonly command: 'finalize'; readonly options: FinalizeOptions }
  | { readonly command: 'pause' | 'resume'; readonly options: { readonly reason?: string } };

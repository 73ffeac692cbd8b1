import type { TrafficDriver } from '../../traffic/driver.ts';

/** What one handover is allowed to cost, and what its operator accepts. */
export interface HandoverOptions {
  readonly budgetMs: number;
  readonly maxLagBytes: number;
  readonly maxSweepAgeMs: number;
  /** The most parked rows accepted. */
  readonly acceptParked: number | 'all';
  /** Step 1 only, and the rest predicted. */
  readonly dryRun: boolean;
  /** Steps 1 to 7, then everything back. */
  readonly rehearse: boolean;
  /** Ends sessions that keep the write lock from the freeze. */
  readonly terminateBlockers: boolean;
  readonly traffic: TrafficDriver;
}

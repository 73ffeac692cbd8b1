/** A pair on which nobody writes: every moment is a cut. */
import type { Lsn } from '../../orchestrator/pg/lsn.ts';
import { Delta } from '../../orchestrator/verify/delta.ts';

/** Stands in for the applier where nothing flows: sweeps of a pair that stands still. */
export class StillApplier {
  readonly delta = new Delta();

  holdBack<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }

  cutBefore<T>(_lsn: Lsn, paused: () => Promise<T>): Promise<T> {
    return paused();
  }
}

import { failure } from '../errors/failure.ts';
import { sweepPhase } from '../phases/sweep.ts';
import type { VerifyDocument } from '../state/documents.ts';
import type { SweepOptions } from '../verify/sweep.ts';
import type { Runner } from './runner.ts';

/** When a runner sweeps, and at what speed. */
export class Sweeps {
  readonly #runner: Runner;
  #lastAt = 0;
  #slow: AbortController | undefined;

  constructor(runner: Runner) {
    this.#runner = runner;
  }

  get due(): boolean {
    return Date.now() - this.#lastAt >= this.#runner.settings.sweepIntervalMs;
  }

  /** The interval begins anew: a sweep of another generation says nothing about this one. */
  wait(): void {
    this.#lastAt = Date.now();
  }

  /** Runs a sweep now. A sweep that cannot be made is tried again later; one that found differences is remembered. */
  async now(limits: Pick<SweepOptions, 'maxRowsPerSecond' | 'signal'> = {}): Promise<VerifyDocument> {
    const { ctx, settings, sync } = this.#runner;
    if (!sync) throw failure('WRONG_PHASE', { expected: 'syncing', found: 'no stream' });
    this.#lastAt = Date.now();
    const { serving, applier } = sync;
    return sweepPhase(ctx, { serving, applier, workers: settings.copyWorkers, ...limits });
  }

  /** The one that is due. One that is held back makes way for a request, which sweeps at full speed where it needs to. */
  async scheduled(): Promise<VerifyDocument | undefined> {
    const maxRowsPerSecond = this.#runner.settings.maxSweepRowsPerSecond;
    if (maxRowsPerSecond === null) return this.now();
    this.#slow = new AbortController();
    const { signal } = this.#slow;
    return this.now({ maxRowsPerSecond, signal }).catch((error: unknown) => {
      if (!signal.aborted || this.#runner.ending.signal.aborted) throw error;
      this.#lastAt = 0;
      return undefined;
    });
  }

  /** A request has arrived: a sweep that is held back ends. */
  makeWay(): void {
    this.#slow?.abort();
  }
}

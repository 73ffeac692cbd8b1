import { setTimeout as delay } from 'node:timers/promises';

/**
 * Keeps all workers of this process together below a number of bytes (or rows) a second. Debt is paid afterwards: bytes that
 * have come are never held back in memory, the next ones are asked for later.
 */
export class Pace {
  private readonly bytesPerMs: number | undefined;
  private paidUntil = 0;

  /** @param maxRateBytes bytes a second; undefined is no limit. */
  constructor(maxRateBytes: number | undefined) {
    this.bytesPerMs = maxRateBytes === undefined ? undefined : maxRateBytes / 1_000;
  }

  /** @returns the milliseconds to wait before the next bytes, after `bytes` have passed at time `now` (ms). */
  owe(bytes: number, now: number): number {
    if (this.bytesPerMs === undefined) return 0;
    this.paidUntil = Math.max(this.paidUntil, now) + bytes / this.bytesPerMs;
    return this.paidUntil - now;
  }

  /** @returns a promise when there is something to wait for, so that an unlimited copy never yields. */
  after(bytes: number, signal: AbortSignal): Promise<void> | undefined {
    const ms = this.owe(bytes, performance.now());
    return ms > 1 ? delay(ms, undefined, { signal }) : undefined;
  }
}

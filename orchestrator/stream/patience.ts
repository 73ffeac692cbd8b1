import { setTimeout as delay } from 'node:timers/promises';
import type { Verdict } from './stream-failure.ts';

const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 10_000;
/** How often in a row an error that the server does not explain is met before the stream stops. */
const MOST_AGAIN = 4;

/** When a stream that failed tries again, and when it stops for good. */
export class Patience {
  #backoffMs = FIRST_BACKOFF_MS;
  #again = 0;

  /** How long the next wait is. */
  get backoffMs(): number {
    return this.#backoffMs;
  }

  /** Something was stored: what failed before is over. */
  renew(): void {
    this.#backoffMs = FIRST_BACKOFF_MS;
    this.#again = 0;
  }

  /** Counts an error. @returns whether it ends the stream. */
  endsWith(verdict: Verdict): boolean {
    if (verdict === 'again') this.#again += 1;
    return verdict === 'fatal' || this.#again > MOST_AGAIN;
  }

  /** Waits before the next attempt, longer each time, or until `signal` is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    await delay(this.#backoffMs, undefined, { signal }).catch(() => {});
    this.#backoffMs = Math.min(this.#backoffMs * 2, LAST_BACKOFF_MS);
  }
}

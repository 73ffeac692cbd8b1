/**
 * An open loop: writes are due at a fixed rate whether or not the earlier ones were answered. What nobody can take
 * is kept up to `backlog` and then shed, so that a long stall is not followed by a storm.
 */
export class Schedule {
  readonly #perMs: number;
  readonly #backlog: number;
  readonly #waiting: ((due: boolean) => void)[] = [];
  #due = 0;
  #issued = 0;
  #began = 0;
  #timer: NodeJS.Timeout | undefined;
  #shed = 0;
  #closed = false;

  /** @param ratePerSecond offered writes a second. @param backlog writes that may be late at once. */
  constructor(ratePerSecond: number, backlog: number) {
    this.#perMs = ratePerSecond / 1_000;
    this.#backlog = backlog;
  }

  /** Writes that were due and nobody was free to send. */
  get shed(): number {
    return this.#shed;
  }

  get offered(): number {
    return this.#issued;
  }

  start(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#began = performance.now() - this.#issued / this.#perMs;
    this.#timer = setInterval(() => this.#tick(), Math.max(2, Math.min(50, 1 / this.#perMs / 2)));
  }

  /** Nothing is due until the next start; late writes are forgotten, and those who wait are sent home. */
  halt(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#due = 0;
    for (const wake of this.#waiting.splice(0)) wake(false);
  }

  close(): void {
    this.#closed = true;
    this.halt();
  }

  /** Resolves with true when a write is due for the caller, with false when the schedule was halted. */
  async take(): Promise<boolean> {
    if (this.#timer === undefined) return false;
    if (this.#due > 0) {
      this.#due -= 1;
      return true;
    }
    return await new Promise((resolve) => this.#waiting.push(resolve));
  }

  #tick(): void {
    const target = Math.floor((performance.now() - this.#began) * this.#perMs);
    for (; this.#issued < target; this.#issued += 1) {
      const next = this.#waiting.shift();
      if (next !== undefined) next(true);
      else if (this.#due < this.#backlog) this.#due += 1;
      else this.#shed += 1;
    }
  }
}

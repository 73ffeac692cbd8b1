/**
 * What ends a runner: whoever started it, a lost lease, or a fatal error of the stream. Between the decision of a handover
 * and its end the first of them waits: what has been decided is finished before the process goes (DESIGN 7, forward only).
 * The others do not wait: without the lease nothing is finished but the opening that was armed before.
 */
export class EndingSignal {
  private readonly controller = new AbortController();
  private readonly asked: AbortSignal;
  private held = false;

  constructor(asked: AbortSignal) {
    this.asked = asked;
    asked.addEventListener('abort', () => this.heed(), { once: true });
    this.heed();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  abort(reason: unknown): void {
    this.controller.abort(reason);
  }

  /** From now on a wish to end waits, until `release`. */
  hold(): void {
    this.held = true;
  }

  release(): void {
    this.held = false;
    this.heed();
  }

  private heed(): void {
    if (this.asked.aborted && !this.held) this.controller.abort(this.asked.reason);
  }
}

import { Lag, type Position } from './lag.ts';
import type { StreamSession } from './session.ts';

const SAMPLE_MS = 1_000;

/** Asks the source once a second how far it is, while there is a session to ask. */
export class LagWatch {
  readonly #lag = new Lag();
  readonly #session: () => StreamSession | undefined;
  readonly #position: () => Position;
  readonly #report: () => void;
  #timer: NodeJS.Timeout | undefined;
  #sampling = false;

  /** @param report called after every sample, also after one that failed. */
  constructor(session: () => StreamSession | undefined, position: () => Position, report: () => void) {
    this.#session = session;
    this.#position = position;
    this.#report = report;
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.#sample(), SAMPLE_MS);
    void this.#sample();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.forget();
  }

  /** The source cannot be asked now: unknown is not 0. */
  forget(): void {
    this.#lag.forget();
  }

  get bytes(): bigint | undefined {
    return this.#lag.bytes(this.#position());
  }

  get seconds(): number | undefined {
    return this.#lag.seconds(this.#position());
  }

  async #sample(): Promise<void> {
    const session = this.#session();
    if (session === undefined || this.#sampling) {
      this.#report();
      return;
    }
    this.#sampling = true;
    try {
      await this.#lag.sample(session.meter, this.#position().applied);
      // An idle walsender says only now and then how far it has read.
      if ((this.bytes ?? 0n) > 0n && session.tail.idle) session.tail.ping();
    } catch {
      this.forget();
    } finally {
      this.#sampling = false;
      this.#report();
    }
  }
}

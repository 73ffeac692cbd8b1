import type { Lsn } from '../pg/lsn.ts';

/**
 * Decides when which position is acknowledged; it sends nothing itself.
 *
 * Rules: only what is durable on the destination (I3), never backwards, and no answer to every keepalive: answering
 * each with a position that lags makes the walsender ping again at once (FIELD-NOTES E).
 */
export class Acknowledger {
  readonly #statusMs: number;
  readonly #paceMs: number;
  #durable: Lsn;
  #sent: Lsn | undefined;
  #sentAt = Number.NEGATIVE_INFINITY;

  /**
   * @param start what is durable when the stream begins.
   * @param statusMs a status is due at least this often; a third of wal_sender_timeout.
   * @param paceMs a moved position is told at most this often.
   */
  constructor(start: Lsn, statusMs: number, paceMs = 50) {
    this.#durable = start;
    this.#statusMs = statusMs;
    this.#paceMs = paceMs;
  }

  /** `lsn` was stored by a committed transaction. A lower one than before is ignored. */
  durable(lsn: Lsn): void {
    if (lsn > this.#durable) this.#durable = lsn;
  }

  /**
   * @param nowMs a monotonic clock.
   * @param asked the server wants an answer now.
   * @returns the position to send, or undefined when nothing is due; what is returned counts as sent.
   */
  due(nowMs: number, asked: boolean): Lsn | undefined {
    const silentMs = nowMs - this.#sentAt;
    const moved = this.#sent === undefined || this.#durable > this.#sent;
    if (!asked && silentMs < this.#statusMs && !(moved && silentMs >= this.#paceMs)) return undefined;
    this.#sent = this.#durable;
    this.#sentAt = nowMs;
    return this.#durable;
  }

  /** The position that was told last. */
  get acknowledged(): Lsn | undefined {
    return this.#sent;
  }
}

/**
 * The source ids touched since the last clean sweep (DESIGN 6): what the freeze compares again.
 *
 * Bounded: a set that outgrew its bound is lost, and so is that of a process that ended; then the next handover
 * sweeps first. While a sweep runs, touched ids go to the old and the new set; the old one dies when the sweep is clean.
 */
export class Delta {
  readonly #limit: number;
  #current: Set<number> | 'lost' = 'lost';
  #next: Set<number> | 'lost' | undefined;

  /** @param limit how many ids are remembered; a million take about 40 MB. */
  constructor(limit = 200_000) {
    this.#limit = limit;
  }

  /** Notes ids whose rows may differ from the last sweep's picture. */
  add(ids: Iterable<number>): void {
    for (const id of ids) {
      if (this.#current !== 'lost') this.#current.add(id);
      if (this.#next !== undefined && this.#next !== 'lost') this.#next.add(id);
    }
    if (this.#current !== 'lost' && this.#current.size > this.#limit) this.#current = 'lost';
    if (this.#next !== undefined && this.#next !== 'lost' && this.#next.size > this.#limit)
      this.#next = 'lost';
  }

  /** A sweep's picture is taken now: called while the applier is paused at the cut. */
  beginSweep(): void {
    this.#next = new Set();
  }

  /** The sweep that began last was clean: only what was touched since its picture counts from now on. */
  sweepClean(): void {
    if (this.#next !== undefined) this.#current = this.#next;
    this.#next = undefined;
  }

  /** The sweep that began last found differences or did not end: the old set stays. */
  sweepFailed(): void {
    this.#next = undefined;
  }

  /** Nothing is known any more: rewriting DDL, a repair of unknown extent. The next handover sweeps first. */
  lose(): void {
    this.#current = 'lost';
    if (this.#next !== undefined) this.#next = 'lost';
  }

  /** @returns the touched ids, or `lost`. */
  keys(): ReadonlySet<number> | 'lost' {
    return this.#current;
  }

  /** Whether the next freeze compares an id again; a lost set does not let it come to a freeze. */
  touched(id: number): boolean {
    const keys = this.#next ?? this.#current;
    return keys === 'lost' || keys.has(id);
  }

  /** How many ids there are; undefined when the set is lost. */
  get size(): number | undefined {
    return this.#current === 'lost' ? undefined : this.#current.size;
  }

  get lost(): boolean {
    return this.#current === 'lost';
  }
}

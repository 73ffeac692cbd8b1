import type { Context } from '../state/context.ts';
import type { Beyond } from './links.ts';

const EVERY_MS = 10_000;
const KEYS_SHOWN = 20;

/**
 * Journals what green was told that the old schema has no place for: counts by kind and a few ids, never values. At
 * most one entry in ten seconds, however busy green is; the list before a revert is read from the tables themselves.
 */
export class Notes {
  readonly #ctx: Context;
  readonly #pending = new Map<Beyond, Set<number>>();
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(ctx: Context) {
    this.#ctx = ctx;
  }

  add(beyond: ReadonlyMap<Beyond, ReadonlySet<number>>): void {
    for (const [kind, ids] of beyond) {
      const pending = this.#pending.get(kind) ?? new Set();
      for (const id of ids) pending.add(id);
      this.#pending.set(kind, pending);
    }
  }

  /** Called once a destination transaction; writes only when something is pending and the time has come. */
  async flush(): Promise<void> {
    if (this.#pending.size === 0 || performance.now() - this.#lastAt < EVERY_MS) return;
    const detail = Object.fromEntries(
      [...this.#pending].map(([kind, ids]) => [
        kind,
        { count: ids.size, ids: [...ids].slice(0, KEYS_SHOWN) },
      ]),
    );
    this.#pending.clear();
    this.#lastAt = performance.now();
    await this.#ctx.journal('not-revertible', detail);
  }
}

import { type HandoverKind, handoverFrom, otherSide, type Side } from '../pg/side.ts';

/** What a traffic driver is told about the handover it serves; no URLs, no secrets. */
export interface TrafficTask {
  readonly migration: string;
  readonly attempt: string;
  readonly kind: HandoverKind;
  readonly from: Side;
  readonly to: Side;
  /** Epoch seconds by which clients are resumed, whatever happens. */
  readonly deadline: number;
}

/**
 * @param attempt the handover, and the side it leads the clients away from.
 * @param deadline epoch seconds.
 * @returns what a driver is told of it.
 */
export function taskOf(
  migration: string,
  { attempt, from }: { readonly attempt: string; readonly from: Side },
  deadline: number,
): TrafficTask {
  return { migration, attempt, kind: handoverFrom(from), from, to: otherSide(from), deadline };
}

/** Moves the clients. Each step is idempotent, and may be repeated after a crash. */
export interface TrafficDriver {
  readonly name: 'none' | 'command' | 'pgbouncer' | 'kubernetes';
  /** Finds out, changing nothing, whether the other steps can work. @returns warnings. */
  check(task: TrafficTask): Promise<string[]>;
  /** Holds the clients back; they are resumed at the deadline even if this process dies, unless `decided` was called. */
  pause(task: TrafficTask): Promise<void>;
  /** The point of no return has passed: resuming is the runner's now. */
  decided(): void;
  switch(task: TrafficTask): Promise<void>;
  resume(task: TrafficTask): Promise<void>;
  /** Undoes a pause whose handover came to nothing. */
  undo(task: TrafficTask): Promise<void>;
}

/** The two databases. Who serves is not in the name: see `Role`. */
export type Side = 'blue' | 'green';
export const SIDES: readonly Side[] = ['blue', 'green'];

/** What a side is at a generation. */
export type Role = 'serving' | 'standby';

/** Sync flows from the serving side to the standby: `forward` is blue → green. */
export type Direction = 'forward' | 'reverse';

export type HandoverKind = 'cutover' | 'revert';

/** @returns the side that is not `side`. */
export function otherSide(side: Side): Side {
  return side === 'blue' ? 'green' : 'blue';
}

/** @returns the direction of the stream that leaves `side`. */
export function directionFrom(side: Side): Direction {
  return side === 'blue' ? 'forward' : 'reverse';
}

/** @returns the side a stream leaves. */
export function sourceOf(direction: Direction): Side {
  return direction === 'forward' ? 'blue' : 'green';
}

/** @returns the side a stream ends on; its progress is stored there. */
export function destinationOf(direction: Direction): Side {
  return otherSide(sourceOf(direction));
}

/** @returns the handover that takes serving away from `side`. */
export function handoverFrom(side: Side): HandoverKind {
  return side === 'blue' ? 'cutover' : 'revert';
}

import type { StepName } from '../../state/documents.ts';

/** What the freeze is expected to cost, from what was measured before. */
export interface Prediction {
  readonly freezeMs: number;
  /** Milliseconds of each step that writes stand still in. */
  readonly partsMs: Readonly<Partial<Record<StepName, number>>>;
}

const FIXED_MS = { freeze: 20, stop: 20, arm: 20, decide: 20, open: 10 };
/** Compared keys a second, both sides together, on a slow machine. */
const KEYS_PER_SECOND = 10_000;

/** Pure: from the lag, the delta and the longest open transaction to the milliseconds that no write will pass. */
export function predictFreeze(lagSeconds: number | undefined, deltaKeys: number): Prediction {
  const partsMs = {
    ...FIXED_MS,
    drain: 20 + (lagSeconds ?? 0) * 1000,
    verify: 60 + (deltaKeys / KEYS_PER_SECOND) * 1000,
  };
  return { partsMs, freezeMs: Object.values(partsMs).reduce((sum, ms) => sum + ms, 0) };
}

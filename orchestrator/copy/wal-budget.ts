/** One look at the slot while the copy runs. */
export interface WalReading {
  /** Milliseconds of a steady clock. */
  readonly at: number;
  /** WAL blue may still write before the slot is in danger; undefined when there is no limit. */
  readonly safeBytes: number | undefined;
}

/**
 * The slot keeps all WAL from before the first row was copied until catch-up: a copy that takes too long loses it.
 * @param etaSeconds until the copy ends; null when unknown.
 * @returns how many seconds before the end of the copy the WAL would run out at the present rate, or null when it
 *   lasts, when there is no limit, or when too little is known to say.
 */
export function walShortfall(
  first: WalReading,
  latest: WalReading,
  etaSeconds: number | null,
): number | null {
  if (first.safeBytes === undefined || latest.safeBytes === undefined || etaSeconds === null) return null;
  const seconds = (latest.at - first.at) / 1_000;
  const burnt = first.safeBytes - latest.safeBytes;
  if (seconds < 1 || burnt <= 0) return null;
  const lasts = latest.safeBytes / (burnt / seconds);
  return lasts < etaSeconds ? etaSeconds - lasts : null;
}

const DURATION_UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const SIZE_UNITS = { B: 1n, KiB: 1n << 10n, MiB: 1n << 20n, GiB: 1n << 30n, TiB: 1n << 40n } as const;

type DurationUnit = keyof typeof DURATION_UNITS;
type SizeUnit = keyof typeof SIZE_UNITS;

/** Longer makes no sense here, and a timer of more than 24.8 days fires at once. */
const LONGEST_MS = 24 * DURATION_UNITS.d;

/**
 * Parses a duration with its unit: `250ms`, `10s`, `1.5m`, `1h`, `2d`.
 * @returns milliseconds, whole; undefined when the text is no duration or longer than 24 days.
 */
export function parseDuration(text: string): number | undefined {
  const m = /^(\d{1,9}(?:\.\d{1,3})?)\s?(ms|s|m|h|d)$/.exec(text.trim());
  if (!m) return undefined;
  const ms = Math.round(Number(m[1]) * DURATION_UNITS[m[2] as DurationUnit]);
  return ms <= LONGEST_MS ? ms : undefined;
}

/**
 * Parses a size: `16MiB`, `512KiB`, or plain bytes.
 * @returns bytes; undefined when the text is no size.
 */
export function parseSize(text: string): bigint | undefined {
  const m = /^(\d{1,15})\s?(B|KiB|MiB|GiB|TiB)?$/.exec(text.trim());
  if (!m) return undefined;
  return BigInt(m[1] ?? '0') * SIZE_UNITS[(m[2] ?? 'B') as SizeUnit];
}

/** Prints milliseconds with the largest unit that divides them; `parseDuration` reads it back. */
export function formatDuration(ms: number): string {
  const units: DurationUnit[] = ['d', 'h', 'm', 's'];
  const unit = units.find((u) => ms !== 0 && ms % DURATION_UNITS[u] === 0) ?? 'ms';
  return `${ms / DURATION_UNITS[unit]}${unit}`;
}

/** Prints bytes with the largest unit that divides them; `parseSize` reads it back. */
export function formatSize(bytes: bigint): string {
  const units: SizeUnit[] = ['TiB', 'GiB', 'MiB', 'KiB'];
  const unit = units.find((u) => bytes !== 0n && bytes % SIZE_UNITS[u] === 0n) ?? 'B';
  return `${bytes / SIZE_UNITS[unit]}${unit}`;
}

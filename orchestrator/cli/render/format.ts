/** Numbers as a person reads them at a glance. Unknown is a dash, never 0. */
export const UNKNOWN = '–';

/** 1204 → `1,204`. */
export function count(n: number | null | undefined): string {
  return n === null || n === undefined ? UNKNOWN : n.toLocaleString('en-US');
}

/** Rows in three digits: `412`, `41.2M`. */
export function compact(n: number | null | undefined): string {
  if (n === null || n === undefined) return UNKNOWN;
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const)
    if (n >= size * (unit === 'k' ? 10 : 1)) return `${(n / size).toFixed(1)}${unit}`;
  return String(n);
}

/** Bytes in decimal units: `3.1 kB`, `48 MB`. */
export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined) return UNKNOWN;
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = n;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A short time: `0.28 s`, `12 s`. */
export function seconds(s: number | null | undefined): string {
  if (s === null || s === undefined) return UNKNOWN;
  return `${s >= 10 ? Math.round(s) : s < 1 ? Number(s.toFixed(2)) : Number(s.toFixed(1))} s`;
}

/** A long time in its two largest units: `3h12m`, `18m04s`, `7s`. */
export function duration(s: number): string {
  const whole = Math.max(0, Math.floor(s));
  const two = (n: number) => String(n).padStart(2, '0');
  if (whole >= 86_400) return `${Math.floor(whole / 86_400)}d${two(Math.floor((whole % 86_400) / 3_600))}h`;
  if (whole >= 3_600) return `${Math.floor(whole / 3_600)}h${two(Math.floor((whole % 3_600) / 60))}m`;
  if (whole >= 60) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  return `${whole}s`;
}

/** @returns seconds from an ISO time until `now`; undefined when there is no time. */
export function secondsSince(iso: string | null | undefined, now: Date): number | undefined {
  if (iso === null || iso === undefined) return undefined;
  const then = Date.parse(iso);
  return Number.isNaN(then) ? undefined : (now.getTime() - then) / 1000;
}

/** A bar of `width` cells. */
export function bar(part: number, width: number): string {
  const full = Math.round(Math.max(0, Math.min(1, part)) * width);
  return '█'.repeat(full) + '░'.repeat(width - full);
}

/** Joins parts with ` · `, breaking before the width is passed; further lines are indented. */
export function flow(label: string, parts: readonly string[], columns: number): string {
  const indent = ' '.repeat(label.length);
  const lines: string[] = [];
  let line = label;
  let empty = true;
  for (const part of parts) {
    if (!empty && line.length + 3 + part.length > columns) {
      lines.push(line);
      line = indent;
      empty = true;
    }
    line += empty ? part : ` · ${part}`;
    empty = false;
  }
  return [...lines, line].join('\n');
}

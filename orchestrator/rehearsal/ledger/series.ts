import type { ChartFact } from '../report.ts';
import { feltFreeze, percentiles, type Timeline, windowBetween } from './timing.ts';

/** Long rehearsals get wider buckets: so many points are as much as a page can show. */
const POINTS = 240;

/**
 * What the clients felt over the whole rehearsal, in buckets of time, and where the freezes were.
 * @param originMs the ledger's clock when the rehearsal began.
 */
export function chartOf(timeline: Timeline, originMs: number): ChartFact | null {
  const { waits, span, marks } = timeline;
  if (waits.length === 0) return null;
  const at = (ms: number): number => Math.round(ms - originMs) / 1_000;
  const intervalMs = Math.max(250, Math.ceil((span.toMs - span.fromMs) / POINTS / 250) * 250);
  const buckets = new Map<number, number[]>();
  const first = Math.floor((span.fromMs - originMs) / intervalMs);
  const last = Math.floor((span.toMs - originMs) / intervalMs);
  for (let i = first; i <= last; i++) buckets.set(i, []);
  for (const w of waits)
    buckets.get(Math.floor((w.acknowledgedMs - originMs) / intervalMs))?.push(w.acknowledgedMs - w.sentMs);
  const names = marks.filter((m) => m.name.endsWith(':end')).map((m) => m.name.slice(0, -':end'.length));
  return {
    interval_seconds: intervalMs / 1_000,
    points: [...buckets].map(([i, latencies]) => {
      const p = percentiles(latencies);
      return {
        at_seconds: (i * intervalMs) / 1_000,
        acknowledged: latencies.length,
        p50_ms: p === undefined ? null : Math.round(p.p50 * 10) / 10,
        p95_ms: p === undefined ? null : Math.round(p.p95 * 10) / 10,
        max_ms: p === undefined ? null : Math.round(p.max * 10) / 10,
      };
    }),
    freezes: names.map((name) => {
      const { gap } = feltFreeze(timeline, windowBetween(timeline, `${name}:begin`, `${name}:end`));
      return { name, from_seconds: at(gap.fromMs), to_seconds: at(gap.toMs) };
    }),
  };
}

import type { Side } from '../../pg/side.ts';
import type { LedgerEvent } from './event.ts';

/** A stretch of the client's monotonic clock, in milliseconds. */
export interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

/** One write as a client felt it, its retries included. */
export interface Wait {
  readonly op: string;
  readonly kind: string;
  readonly side: Side;
  /** The first try. */
  readonly sentMs: number;
  /** The try that was acknowledged. */
  readonly lastSentMs: number;
  readonly acknowledgedMs: number;
}

export interface Percentiles {
  readonly count: number;
  readonly min: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export interface Timeline {
  /** Acknowledged writes in the order of their acknowledgement. */
  readonly waits: readonly Wait[];
  /** Refused attempts by SQLSTATE or word of the driver. */
  readonly failedByCode: ReadonlyMap<string, number>;
  readonly unknown: number;
  readonly marks: readonly { readonly name: string; readonly monoMs: number; readonly wall: number }[];
  readonly span: Window;
}

/** Reads the ledger into what the clients felt. Memory: one small object an acknowledged write. */
export async function readTimeline(
  events: AsyncIterable<LedgerEvent> | Iterable<LedgerEvent>,
): Promise<Timeline> {
  const first = new Map<string, { kind: string; sentMs: number; lastSentMs: number }>();
  const waits: Wait[] = [];
  const failedByCode = new Map<string, number>();
  const marks: { name: string; monoMs: number; wall: number }[] = [];
  let unknown = 0;
  let [fromMs, toMs] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for await (const event of events) {
    fromMs = Math.min(fromMs, event.mono);
    toMs = Math.max(toMs, event.mono);
    if (event.event === 'sent') {
      const earlier = first.get(event.op);
      if (earlier !== undefined) earlier.lastSentMs = event.mono;
      else first.set(event.op, { kind: event.kind, sentMs: event.mono, lastSentMs: event.mono });
    } else if (event.event === 'acknowledged') {
      const start = first.get(event.op);
      first.delete(event.op);
      if (start !== undefined)
        waits.push({ op: event.op, side: event.side, ...start, acknowledgedMs: event.mono });
    } else if (event.event === 'failed') {
      failedByCode.set(event.code, (failedByCode.get(event.code) ?? 0) + 1);
    } else if (event.event === 'unknown') {
      unknown += 1;
      first.delete(event.op);
    } else {
      marks.push({ name: event.name, monoMs: event.mono, wall: event.wall });
    }
  }
  return { waits, failedByCode, unknown, marks, span: { fromMs, toMs } };
}

/** @returns nearest-rank percentiles; undefined without values, because unknown is not 0. */
export function percentiles(values: Iterable<number>): Percentiles | undefined {
  const sorted = Float64Array.from(values).sort();
  const count = sorted.length;
  if (count === 0) return undefined;
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * count) - 1)] as number;
  return { count, min: at(0), p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

/** @returns the latency of the writes acknowledged inside the window, retries included, in milliseconds. */
export function latency(timeline: Timeline, window: Window = timeline.span): Percentiles | undefined {
  return percentiles(
    timeline.waits
      .filter((w) => w.acknowledgedMs >= window.fromMs && w.acknowledgedMs <= window.toMs)
      .map((w) => w.acknowledgedMs - w.sentMs),
  );
}

/** What a freeze looked like from the clients' side of the wire. */
export interface FeltFreeze {
  /** The longest time inside the window in which no client had a write acknowledged. */
  readonly longestGapMs: number;
  /** Where that gap was. */
  readonly gap: Window;
  /** The longest a single write took from its first try to its acknowledgement. */
  readonly longestWaitMs: number;
  /** Writes that waited across the gap: with none, nobody asked for anything and the gap says nothing. */
  readonly waiting: number;
}

/**
 * The freeze as clients felt it inside a handover's window: the longest gap without an acknowledged write.
 * A write still without an answer at the end of the window makes the gap reach up to the end.
 */
export function feltFreeze(timeline: Timeline, window: Window): FeltFreeze {
  const inside = timeline.waits.filter(
    (w) => w.acknowledgedMs >= window.fromMs && w.acknowledgedMs <= window.toMs,
  );
  let gap: Window = { fromMs: window.fromMs, toMs: window.fromMs };
  let last = window.fromMs;
  for (const ms of [...inside.map((w) => w.acknowledgedMs), window.toMs]) {
    if (ms - last > gap.toMs - gap.fromMs) gap = { fromMs: last, toMs: ms };
    last = ms;
  }
  return {
    longestGapMs: gap.toMs - gap.fromMs,
    gap,
    longestWaitMs: inside.reduce((longest, w) => Math.max(longest, w.acknowledgedMs - w.sentMs), 0),
    waiting: timeline.waits.filter((w) => w.sentMs < gap.toMs && w.acknowledgedMs >= gap.toMs).length,
  };
}

/** @returns the window between two marks of the ledger (the last pair of that name). */
export function windowBetween(timeline: Timeline, from: string, to: string): Window {
  const end = timeline.marks.findLast((m) => m.name === to);
  const start = timeline.marks.findLast(
    (m) => m.name === from && (end === undefined || m.monoMs <= end.monoMs),
  );
  if (start === undefined || end === undefined) throw new Error(`ledger: no marks ${from} … ${to}`);
  return { fromMs: start.monoMs, toMs: end.monoMs };
}

/**
 * How often the serving side certainly changed, judged by acknowledged writes alone.
 *
 * A write acknowledged by a side proves that it accepted writes at one moment between sending and answer. A chain of
 * such proofs, each wholly after the one before it and on the other side, can be no longer than the number of
 * handovers: were both sides open at once, it would grow with every pair of writes (I4).
 */
export function servingChanges(timeline: Timeline): number {
  let changes = 0;
  let side: Side | undefined;
  let provedMs = Number.NEGATIVE_INFINITY;
  // `waits` is ordered by the end of the interval: taking the earliest end makes the chain long.
  for (const wait of timeline.waits) {
    if (side === undefined) {
      side = wait.side;
      provedMs = wait.acknowledgedMs;
    } else if (wait.side !== side && wait.lastSentMs > provedMs) {
      changes += 1;
      side = wait.side;
      provedMs = wait.acknowledgedMs;
    }
  }
  return changes;
}

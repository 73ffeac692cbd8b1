import os from 'node:os';
import { resolve } from 'node:path';
import type { Settings } from '../config/settings.ts';
import { failure, type OrchestrateError } from '../errors/failure.ts';
import type { Book } from './book.ts';
import { configurationOf, type Scale } from './configuration.ts';
import { latency, type Percentiles, readTimeline } from './ledger/timing.ts';
import { type Ledger, readLedger } from './ledger.ts';
import type { IterationFact, Latency, RehearsalReport, WorkloadFact } from './report.ts';
import type { WorkloadStatistics } from './workload.ts';

export const tenth = (value: number): number => Math.round(value * 10) / 10;

export function latencyFact(p: Percentiles | undefined): Latency | null {
  if (p === undefined) return null;
  return { count: p.count, min: tenth(p.min), p50: tenth(p.p50), p95: tenth(p.p95), max: tenth(p.max) };
}

/** What the application did over the whole rehearsal, and what its ledger says of it. */
export async function workloadFact(
  statistics: WorkloadStatistics,
  clients: number,
  ledger: Ledger,
): Promise<WorkloadFact> {
  const timeline = await readTimeline(readLedger(ledger.path));
  return {
    clients,
    offered: statistics.offered,
    acknowledged: statistics.acknowledged,
    refused: statistics.refused,
    abandoned: statistics.abandoned,
    unknown: statistics.unknown,
    shed: statistics.shed,
    sign_ups: statistics.signUps,
    refused_by_code: Object.fromEntries([...timeline.failedByCode].sort(([a], [b]) => (a < b ? -1 : 1))),
    latency_ms: latencyFact(latency(timeline)),
  };
}

/** The way of a rehearsal; on given databases it ends where it began. */
export const HANDOVERS = ['cutover 1', 'revert 1', 'cutover 2'] as const;
export const HANDOVERS_AND_BACK = [...HANDOVERS, 'revert 2'] as const;

/**
 * Puts together what was found. It passed only if every stage was reached and nothing is written down as failed: what
 * was not looked at has not held.
 */
export function reportOf(
  settings: Settings,
  scale: Scale & { readonly reportDirectory: string; readonly embedded: boolean },
  book: Book,
  times: { readonly startedAt: Date; readonly began: number },
  error: OrchestrateError | undefined,
): RehearsalReport {
  const given = settings.urls.blue !== null && !scale.embedded;
  const handovers = given ? HANDOVERS_AND_BACK : HANDOVERS;
  const done = (name: string): boolean =>
    book.handovers.some((h) => h.name === name && h.outcome === 'done') &&
    book.checks.some((c) => c.after === name && c.lost === 0 && c.compared?.differences === 0);
  const checklist = [
    { item: 'copied, built and proved equal by the first sweep', ok: book.copy !== null },
    ...handovers.map((name) => ({ item: `${name}: done, 0 writes lost, 0 differences`, ok: done(name) })),
    {
      item: 'no client waited longer than the budget',
      ok:
        book.handovers.length === handovers.length &&
        book.handovers.every(
          (h) => (h.felt?.longest_gap_ms ?? Number.POSITIVE_INFINITY) <= h.budget_seconds * 1_000,
        ),
    },
    {
      item: 'never two sides took writes',
      ok: book.servingChanges !== null && book.servingChanges.proved <= book.servingChanges.handovers,
    },
    given
      ? {
          item: 'finalized, everything taken back: catalogs and rows of both databases as they were',
          ok: book.finalize !== null && book.restored?.identical === true,
        }
      : {
          item: 'finalized; nothing left behind, blue refuses writes',
          ok:
            book.finalize !== null && book.finalize.residue.length === 0 && book.finalize.blue_refuses_writes,
        },
  ];
  const passed = error === undefined && book.failures.length === 0 && checklist.every(({ ok }) => ok);
  const verdict = passed ? 'passed' : 'failed';
  const reason = error ?? (passed ? undefined : failed(book, checklist));
  return {
    verdict,
    exit: reason?.entry.exit ?? 0,
    failures: book.failures,
    started_at: times.startedAt.toISOString(),
    seconds: tenth((performance.now() - times.began) / 1_000),
    program: { version: book.version, node: process.version },
    machine: {
      cpus: os.availableParallelism(),
      memory_bytes: os.totalmem(),
      platform: `${process.platform}-${process.arch}`,
    },
    servers: book.servers,
    configuration: configurationOf(settings, scale),
    rows: book.rows,
    copy: book.copy,
    workload: book.workload,
    handovers: book.handovers,
    checks: book.checks,
    guide: book.guide,
    finalize: book.finalize,
    alerts: book.alerts,
    restored: book.restored,
    iterations: [],
    serving_changes: book.servingChanges,
    stages: book.stages,
    lag: book.lag,
    chart: book.chart,
    checklist,
    report_directory: resolve(scale.reportDirectory),
    ...(reason === undefined ? {} : { error: reason.toDocument() }),
  };
}

function failed(book: Book, checklist: RehearsalReport['checklist']): OrchestrateError {
  const [first] = book.failures;
  return failure('REHEARSAL_FAILED', {
    expected: first?.expected ?? checklist.find(({ ok }) => !ok)?.item ?? 'everything held',
    found: first === undefined ? 'it did not' : `${first.stage}: ${first.found}`,
  });
}

/** What of one round the next ones are to be held against. */
export function iterationOf(report: RehearsalReport, iteration: number): IterationFact {
  return {
    iteration,
    verdict: report.verdict,
    seconds: report.seconds,
    copy_seconds: report.copy?.seconds ?? null,
    longest_gap_ms: report.handovers.flatMap((h) => (h.felt === null ? [] : [h.felt.longest_gap_ms])),
    lost: report.checks.reduce((sum, c) => sum + c.lost, 0),
    differences: report.checks.reduce((sum, c) => sum + (c.compared?.differences ?? 0), 0),
    restored: report.restored?.identical ?? null,
  };
}

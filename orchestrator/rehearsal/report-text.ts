import type { GuideFigures } from '../state/documents.ts';
import type { Latency, RehearsalReport } from './report.ts';

const ms = (value: number | null | undefined): string =>
  value === null || value === undefined ? '–' : `${Math.round(value)} ms`;

const spread = (latency: Latency | null | undefined): string =>
  latency ? [latency.min, latency.p50, latency.p95, latency.max].map((v) => Math.round(v)).join(' / ') : '–';

/** The freeze of each handover as the clients felt it; the first row is the head. */
export function freezeTable(report: RehearsalReport): string[][] {
  return [
    [
      'handover',
      'no write for',
      'budget',
      'frozen',
      'longest write',
      'waited: min/p50/p95/max ms',
      'all: min/p50/p95/max ms',
      'offered/s before, during, after',
    ],
    ...report.handovers.map((h) => [
      h.name,
      ms(h.felt?.longest_gap_ms),
      `${h.budget_seconds} s`,
      h.freeze_seconds === null ? '–' : ms(h.freeze_seconds * 1_000),
      ms(h.felt?.longest_wait_ms),
      spread(h.felt?.waiting_ms),
      spread(h.felt?.latency_ms),
      [h.offered_per_second.before, h.offered_per_second.during, h.offered_per_second.after]
        .map((v) => v ?? '–')
        .join(', '),
    ]),
  ];
}

/** What of it fits into the width of a terminal. */
function freezeSummary(report: RehearsalReport): string[][] {
  return [
    ['handover', 'no write for', 'of', 'frozen', 'waited: p50, max', 'all: p50, p95 ms'],
    ...report.handovers.map((h) => [
      h.name,
      ms(h.felt?.longest_gap_ms),
      `${h.budget_seconds} s`,
      h.freeze_seconds === null ? '–' : ms(h.freeze_seconds * 1_000),
      h.felt?.waiting_ms ? `${ms(h.felt.waiting_ms.p50)}, ${ms(h.felt.waiting_ms.max)}` : '–',
      h.felt?.latency_ms ? `${Math.round(h.felt.latency_ms.p50)}, ${Math.round(h.felt.latency_ms.p95)}` : '–',
    ]),
  ];
}

/** What the migration guide asks to be watched, the old tables beside the new ones; the first row is the head. */
export function guideTable(guide: GuideFigures): string[][] {
  const sides = (
    what: string,
    of: Readonly<Record<'blue' | 'green', number | null>>,
    unit: (n: number) => string,
  ) => [what, of.blue === null ? '–' : unit(of.blue), of.green === null ? '–' : unit(of.green)];
  const took = guide.migration_seconds;
  return [
    ['figure', 'blue', 'green'],
    ['in sync after', '', took === null ? '–' : `${took.toFixed(1)} s`],
    sides('size of the database', guide.database_bytes, (n) => `${(n / 1e6).toFixed(1)} MB`),
    sides("one user's settings read in", guide.query_seconds, (n) => `${(n * 1_000).toFixed(1)} ms`),
    sides('writes refused in the transition', guide.refused_writes, String),
  ];
}

/** Alerts whose condition held at all, with a head line. */
export function alertsTable(report: RehearsalReport): string[][] {
  return [
    ['alert', 'fires', 'its condition held for', 'needed for it'],
    ...report.alerts
      .filter((a) => a.held_seconds !== null)
      .map((a) => [
        a.alert,
        a.fired ? 'yes' : 'no',
        `${a.held_seconds ?? 0} s`,
        a.for_seconds === 0 ? 'any moment' : `${a.for_seconds / 60} min`,
      ]),
  ];
}

/** What is to be known of a list in which nothing stands. */
export const NO_ALERT = 'None of them, and the condition of none held at any moment.';

/** What did not hold, with a head line; what stopped the rehearsal, where nothing else was judged before. */
export function failuresTable({ failures, error, stages }: RehearsalReport): string[][] {
  const stopped =
    error === undefined ? [] : [[stages.at(-1)?.stage ?? '–', error.expected ?? '–', error.found ?? '–']];
  const found = failures.map((f) => [f.stage, f.expected, f.found]);
  return [['stage', 'expected', 'found'], ...(found.length > 0 ? found : stopped)];
}

/** The rounds side by side, with a head line. */
export function roundsTable(report: RehearsalReport): string[][] {
  return [
    ['round', 'verdict', 'time', 'in sync', 'longest gaps', 'lost', 'differ', 'restored'],
    ...report.iterations.map((i) => [
      String(i.iteration),
      i.verdict,
      `${i.seconds.toFixed(1)} s`,
      i.copy_seconds === null ? '–' : `${i.copy_seconds.toFixed(1)} s`,
      i.longest_gap_ms.map((ms) => `${Math.round(ms)}`).join(', ') +
        (i.longest_gap_ms.length > 0 ? ' ms' : ''),
      String(i.lost),
      String(i.differences),
      i.restored === null ? '–' : i.restored ? 'yes' : 'no',
    ]),
  ];
}

/** The result as it stands on stdout. */
export function summaryOf(report: RehearsalReport): string {
  const { workload, copy, rows } = report;
  const lines = [
    `Rehearsal ${report.verdict.toUpperCase()} in ${report.seconds} s · blue PostgreSQL ${report.servers.blue ?? '?'} → green ${report.servers.green ?? '?'}`,
    ...(rows && copy
      ? [
          `Copy      ${rows.users} rows in sync after ${copy.seconds.toFixed(1)} s, proved after ${copy.until_proved_seconds.toFixed(1)} s, ${copy.parked} parked`,
        ]
      : []),
    ...(workload
      ? [
          `Writes    ${workload.offered} offered, ${workload.acknowledged} acknowledged, ${workload.refused} refused and tried again, ${workload.unknown} unknown`,
        ]
      : []),
    ...report.checks.map(
      (c) =>
        `Proof     after ${c.after}: ${c.lost} acknowledged writes lost${c.compared ? `, ${c.compared.differences} differences in ${c.compared.blue_rows} rows` : ''}`,
    ),
    ...(report.handovers.length > 0 ? ['', ...aligned(freezeSummary(report))] : []),
    ...(report.iterations.length > 1 ? ['', ...aligned(roundsTable(report))] : []),
    ...(report.restored?.identical === true
      ? ['', 'Restored  catalogs, sequences and rows of both databases are what they were']
      : []),
    ...report.failures.flatMap((f) => [
      '',
      `FAILED    ${f.stage}`,
      `expected  ${f.expected}`,
      `found     ${f.found}`,
    ]),
    ...(report.report_directory === null ? [] : ['', `Report    ${report.report_directory}/report.html`]),
  ];
  return lines.join('\n');
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

import type { GuideFigures } from '../state/documents.ts';
import type { CheckFact, HandoverFact, RehearsalReport } from './report.ts';
import { alertsTable, failuresTable, freezeTable, guideTable, NO_ALERT, roundsTable } from './report-text.ts';

const inCell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [
    `| ${head.join(' | ')} |`,
    `|${head.map(() => '---').join('|')}|`,
    ...rows.map((row) => `| ${row.map(inCell).join(' | ')} |`),
  ].join('\n');
}

const seconds = (value: number | null): string => (value === null ? 'unknown' : `${value.toFixed(2)} s`);

/** The report as a person reads it, and signs it at the end. */
export function markdownOf(report: RehearsalReport): string {
  const { configuration: c, rows, copy, workload } = report;
  const sections = [
    `# Rehearsal: ${report.verdict.toUpperCase()}`,
    `${report.started_at}, took ${report.seconds} s, exit ${report.exit}. orchestrate ${report.program.version} on Node ${report.program.node}, ` +
      `blue PostgreSQL ${report.servers.blue ?? 'unknown'}, green PostgreSQL ${report.servers.green ?? 'unknown'}, ` +
      `${report.machine.cpus} CPUs, ${Math.round(report.machine.memory_bytes / 2 ** 30)} GiB, ${report.machine.platform}.`,
    ...failuresOf(report),
    '## Configuration',
    table(
      ['option', 'value'],
      Object.entries(c).map(([name, value]) => [name.replaceAll('_', ' '), String(value)]),
    ),
    '## Rows and copy',
    rows === null || copy === null
      ? 'Not reached.'
      : `${rows.users} rows, ${copy.parked} of them parked. In sync after ${seconds(copy.seconds)} (${copy.rows_per_second} rows/s), ` +
        `proved equal after ${seconds(copy.until_proved_seconds)}.\n\n${table(
          ['phase', 'time'],
          copy.phases.map((p) => [p.phase, seconds(p.seconds)]),
        )}\n\nIn proportion, which is a first guess and no promise:\n\n${table(
          ['rows', 'time to sync'],
          copy.projection.map((p) => [String(p.rows), seconds(p.seconds)]),
        )}`,
    '## The freeze, as clients felt it',
    report.handovers.length === 0 ? 'No handover was reached.' : freezeMarkdown(report),
    ...report.handovers.map(stepsOf),
    '## Proof after each handover',
    report.checks.length === 0 ? 'Not reached.' : checksOf(report.checks),
    '## The application',
    workload === null
      ? 'Not reached.'
      : `${workload.clients} clients offered ${workload.offered} writes; ${workload.acknowledged} were acknowledged, ` +
        `${workload.unknown} have an unknown outcome, ${workload.abandoned} were given up, ${workload.shed} found no free client. ` +
        `${workload.refused} tries were refused and made again (${Object.entries(workload.refused_by_code)
          .map(([code, n]) => `${code}: ${n}`)
          .join(', ')}).`,
    "## The guide's figures",
    report.guide === null ? 'Not reached.' : guideMarkdown(report.guide),
    '## End',
    report.finalize === null
      ? 'Finalize was not reached.'
      : `Finalize: ${report.finalize.outcome}. Stays by intention: ${report.finalize.left.join(', ') || 'nothing'}. ` +
        `Found in the catalogs beyond that: ${report.finalize.residue.join(', ') || 'nothing'}.`,
    ...(report.alerts.length === 0 ? [] : ['## Alerts that would have fired', alertsMarkdown(report)]),
    ...(report.restored === null
      ? []
      : [
          '## Both databases afterwards',
          report.restored.identical
            ? `Catalogs, sequences and rows of both are what they were.${report.restored.unread.length === 0 ? '' : ` Not readable by the sync role: rows of ${report.restored.unread.join(', ')}.`}`
            : report.restored.left.map((line) => `- ${line}`).join('\n'),
        ]),
    ...(report.iterations.length > 1 ? ['## Rounds', roundsMarkdown(report)] : []),
    '## Checklist',
    report.checklist.map(({ item, ok }) => `- [${ok ? 'x' : ' '}] ${item}`).join('\n'),
    'Read by: ______________________   Date: ____________',
  ];
  return `${sections.join('\n\n')}\n`;
}

function failuresOf(report: RehearsalReport): string[] {
  if (report.verdict === 'passed') return [];
  const { error } = report;
  const [head = [], ...lines] = failuresTable(report);
  return [
    '## What did not hold',
    table(head, lines),
    ...(error === undefined ? [] : [`${error.code}: ${error.message}. ${error.fix}.`]),
  ];
}

function guideMarkdown(guide: GuideFigures): string {
  const [head = [], ...lines] = guideTable(guide);
  return table(head, lines);
}

function alertsMarkdown(report: RehearsalReport): string {
  const [head = [], ...lines] = alertsTable(report);
  return lines.length === 0 ? NO_ALERT : table(head, lines);
}

function roundsMarkdown(report: RehearsalReport): string {
  const [head = [], ...lines] = roundsTable(report);
  return table(head, lines);
}

function freezeMarkdown(report: RehearsalReport): string {
  const [head, ...rows] = freezeTable(report);
  return table(head ?? [], rows);
}

function stepsOf(handover: HandoverFact): string {
  const longest = Math.max(...handover.steps.map((s) => s.seconds), 0.001);
  return `### ${handover.name}\n\n${table(
    ['step', 'time', '', 'note'],
    handover.steps.map((s) => [
      `${s.ok ? '' : '✗ '}${s.step}`,
      `${s.seconds.toFixed(3)} s`,
      '█'.repeat(Math.max(1, Math.round((s.seconds / longest) * 30))),
      s.note ?? '',
    ]),
  )}\n\nGates: ${handover.gates.map((g) => `${g.name} ${g.passed === true ? '✓' : '✗'}`).join(', ') || 'none judged'}.`;
}

function checksOf(checks: readonly CheckFact[]): string {
  return table(
    ['after', 'serving', 'acknowledged', 'lost', 'blue rows', 'mapped', 'parked', 'differences', 'examples'],
    checks.map((check) => [
      check.after,
      check.serving,
      String(check.acknowledged),
      String(check.lost),
      String(check.compared?.blue_rows ?? '–'),
      String(check.compared?.mapped ?? '–'),
      String(check.compared?.parked ?? '–'),
      String(check.compared?.differences ?? '–'),
      check.examples.map((d) => `${d.kind} ${d.table} ${d.key} ${d.columns.join(' ')}`).join('; '),
    ]),
  );
}

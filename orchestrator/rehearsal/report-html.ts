import type { RehearsalReport, RestoredFact } from './report.ts';
import { escaped, timeChart, waterfall } from './report-chart.ts';
import { alertsTable, failuresTable, freezeTable, guideTable, NO_ALERT, roundsTable } from './report-text.ts';

/** Light, dark by the reader's system, and ink on paper; wide tables and charts scroll by themselves on a telephone. */
const STYLE = `
:root { color-scheme: light dark; --back: #fff; --ink: #1c2024; --soft: #5b6470; --line: #d9dee4; --good: #18794e;
  --bad: #c62a2f; --freeze: #f5b5b7; --t1: #0d74ce; --t2: #ad5700; --t3: #6e56cf; }
@media (prefers-color-scheme: dark) { :root { --back: #15181c; --ink: #e9edf1; --soft: #9aa5b1; --line: #343b44;
  --good: #3dd68c; --bad: #ff8589; --freeze: #6b2c30; --t1: #70b8ff; --t2: #ffa057; --t3: #baa7ff; } }
@media print { :root { color-scheme: light; --back: #fff; --ink: #000; --soft: #444; --line: #bbb; --good: #000; --bad: #000;
  --freeze: #ddd; --t1: #000; --t2: #777; --t3: #aaa; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; } .soft { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; margin: .75rem 0; } .scroll > svg { display: block; width: 100%; min-width: 36rem; height: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap; } th { color: var(--soft); font-weight: 500; white-space: normal; vertical-align: bottom; } td.wrap { white-space: normal; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.facts div { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; }
.facts b { display: block; font-size: 1.2rem; font-weight: 600; } .facts span { color: var(--soft); font-size: 13px; }
ul.check { list-style: none; padding: 0; } ul.check li { padding: .15rem 0 .15rem 1.5rem; text-indent: -1.5rem; }
.sign { margin-top: 2.5rem; display: flex; flex-wrap: wrap; gap: 2rem; } .sign span { flex: 1 1 14rem;
  border-top: 1px solid var(--ink); padding-top: .3rem; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg .title { font-size: 13px; font-weight: 600; }
svg .tick { fill: var(--soft); font-size: 12px; font-weight: 400; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .line { fill: none; stroke-width: 1.5; stroke-linejoin: round; } svg .tone1 { stroke: var(--t1); }
svg .tone2 { stroke: var(--t2); } svg .tone3 { stroke: var(--t3); stroke-dasharray: 4 2; } svg .freeze { fill: var(--freeze); }
svg .bar { fill: var(--t1); } svg .failed { fill: var(--bad); }
@media print { body { padding: 0; max-width: none; font-size: 12px; } .scroll { overflow: visible; }
  .scroll > svg { min-width: 0; width: 84%; } .facts { grid-template-columns: repeat(6, 1fr); }
  svg, tr, .facts, ul, .sign, .last { break-inside: avoid; } h2 { break-after: avoid; }
  table { font-size: 9.5px; } th, td { white-space: normal; padding-right: .5rem; } }
`;

type Cell = string | number | null | undefined;

const cell = (value: Cell): string => escaped(value === null || value === undefined ? '–' : String(value));

function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const line = (cells: readonly Cell[], tag: string): string =>
    `<tr>${cells.map((c) => `<${tag}${String(c ?? '').length > 60 ? ' class="wrap"' : ''}>${cell(c)}</${tag}>`).join('')}</tr>`;
  return `<div class="scroll"><table>${line(head, 'th')}${rows.map((r) => line(r, 'td')).join('')}</table></div>`;
}

const seconds = (value: number | null | undefined): string =>
  value === null || value === undefined
    ? '–'
    : value >= 120
      ? `${Math.round(value / 60)} min`
      : `${value.toFixed(1)} s`;

const facts = (entries: readonly (readonly [string, string])[]): string =>
  `<div class="facts">${entries.map(([name, value]) => `<div><b>${escaped(value)}</b><span>${escaped(name)}</span></div>`).join('')}</div>`;

const section = (title: string, ...parts: readonly string[]): string =>
  `<section><h2>${escaped(title)}</h2>${parts.join('')}</section>`;

/** The report as one file: nothing is loaded from anywhere (OPERATIONS 6). */
export function htmlOf(report: RehearsalReport): string {
  const { configuration, rows, copy, workload, finalize } = report;
  const good = report.verdict === 'passed';
  const longest = Math.max(...report.handovers.map((h) => h.felt?.longest_gap_ms ?? 0));
  const lost = report.checks.reduce((sum, c) => sum + c.lost, 0);
  const body = [
    `<h1>Rehearsal <span class="${good ? 'good' : 'bad'}">${good ? '✓ passed' : '✗ failed'}</span></h1>`,
    `<p class="soft">${cell(report.started_at.slice(0, 19).replace('T', ' '))} UTC · took ${seconds(report.seconds)} · orchestrate ${cell(report.program.version)} on Node ${cell(report.program.node)} · blue PostgreSQL ${cell(report.servers.blue)} · green PostgreSQL ${cell(report.servers.green)} · ${report.machine.cpus} CPUs, ${Math.round(report.machine.memory_bytes / 2 ** 30)} GiB, ${cell(report.machine.platform)} · configuration ${cell(configuration.hash)}</p>`,
    facts([
      ['acknowledged writes lost', report.checks.length === 0 ? '–' : String(lost)],
      [
        'differences',
        report.checks.length === 0
          ? '–'
          : String(report.checks.reduce((n, c) => n + (c.compared?.differences ?? 0), 0)),
      ],
      ['longest time without a write', report.handovers.length === 0 ? '–' : `${Math.round(longest)} ms`],
      ['budget', seconds(configuration.freeze_budget_seconds)],
      ['rows', rows?.users.toLocaleString('en') ?? '–'],
      ['in sync after', seconds(copy?.seconds)],
    ]),
    ...(good ? [] : [failures(report)]),
    section('The freeze, as clients felt it', ...freezes(report)),
    section('Over time', ...charts(report)),
    section(
      'Steps',
      ...report.handovers.map(
        (h) => `<div class="scroll">${waterfall(`${h.name}: ${h.outcome}`, h.steps)}</div>`,
      ),
    ),
    section(
      'Proof after each handover',
      table(
        [
          'after',
          'serving',
          'acknowledged',
          'lost',
          'blue rows',
          'mapped',
          'parked',
          'differences',
          'writers at rest',
        ],
        report.checks.map((c) => [
          c.after,
          c.serving,
          c.acknowledged,
          c.lost,
          c.compared?.blue_rows,
          c.compared?.mapped,
          c.compared?.parked,
          c.compared?.differences,
          seconds(c.quiet_seconds),
        ]),
      ),
    ),
    section('Gates', ...gates(report)),
    section(
      'Copy',
      copy === null
        ? '<p>Not reached.</p>'
        : `<p>${copy.rows_per_second} rows/s; proved equal after ${seconds(copy.until_proved_seconds)}; ${copy.parked} rows parked.</p>${table(
            ['phase', 'time'],
            copy.phases.map((p) => [p.phase, seconds(p.seconds)]),
          )}<p>With more rows, in proportion: a first guess and no promise.</p>${table(
            ['rows', 'time to sync'],
            copy.projection.map((p) => [p.rows.toLocaleString('en'), seconds(p.seconds)]),
          )}`,
    ),
    section(
      'The application',
      workload === null
        ? '<p>Not reached.</p>'
        : `<p>${workload.clients} clients offered ${workload.offered} writes. ${workload.acknowledged} were acknowledged, ${workload.refused} tries were refused and made again, ${workload.unknown} have an unknown outcome, ${workload.abandoned} were given up, ${workload.shed} found no free client.</p>${table(['refused with SQLSTATE', 'tries'], Object.entries(workload.refused_by_code))}`,
    ),
    section('Figures that the migration guide asks for', ...guide(report)),
    section(
      'Configuration',
      table(
        ['option', 'value'],
        Object.entries(configuration).map(([name, value]) => [name.replaceAll('_', ' '), String(value)]),
      ),
    ),
    section(
      'End',
      finalize === null
        ? '<p>Finalize was not reached.</p>'
        : `<p>Finalize: ${cell(finalize.outcome)}. Stays by intention: ${cell(finalize.left.join(', ') || 'nothing')}. Found in the catalogs beyond that: ${cell(finalize.residue.join(', ') || 'nothing')}.</p>`,
    ),
    ...(report.alerts.length === 0 ? [] : [alerts(report)]),
    ...(report.restored === null ? [] : [afterwards(report.restored)]),
    ...(report.iterations.length > 1 ? [rounds(report)] : []),
    `<div class="last">${section(
      'Checklist',
      `<ul class="check">${report.checklist.map(({ item, ok }) => `<li><span class="${ok ? 'good' : 'bad'}">${ok ? '☑' : '☐'}</span> ${escaped(item)}</li>`).join('')}</ul>`,
      '<div class="sign"><span>Read by</span><span>Date</span></div>',
    )}</div>`,
  ];
  return `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Rehearsal: ${report.verdict}</title><style>${STYLE}</style></head><body>\n${body.join('\n')}\n</body></html>\n`;
}

function failures(report: RehearsalReport): string {
  const { error } = report;
  const [head = [], ...lines] = failuresTable(report);
  return section(
    'What did not hold',
    table(head, lines),
    error === undefined
      ? ''
      : `<p class="bad">${cell(error.code)}: ${cell(error.message)}.</p><p>Next: ${cell(error.fix)}.</p>`,
  );
}

function afterwards({ identical, left, unread }: RestoredFact): string {
  return section(
    'Both databases afterwards',
    identical
      ? `<p>Catalogs, sequences and rows of both are what they were.${unread.length === 0 ? '' : ` Not readable by the sync role: rows of ${cell(unread.join(', '))}.`}</p>`
      : table(
          ['is not as it was'],
          left.map((line) => [line]),
        ),
  );
}

function alerts(report: RehearsalReport): string {
  const [head = [], ...lines] = alertsTable(report);
  return section(
    'Alerts that would have fired',
    lines.length === 0 ? `<p>${NO_ALERT}</p>` : table(head, lines),
  );
}

function rounds(report: RehearsalReport): string {
  const [head = [], ...lines] = roundsTable(report);
  return section('Rounds', table(head, lines));
}

function guide(report: RehearsalReport): string[] {
  if (report.guide === null) return ['<p>Not reached.</p>'];
  const [head = [], ...lines] = guideTable(report.guide);
  return [table(head, lines)];
}

function freezes(report: RehearsalReport): string[] {
  const [head = [], ...lines] = freezeTable(report);
  return [lines.length === 0 ? '<p>No handover was reached.</p>' : table(head, lines)];
}

function charts(report: RehearsalReport): string[] {
  const { chart, lag } = report;
  if (chart === null) return ['<p>No write was acknowledged.</p>'];
  const marked = chart.freezes.map((f) => ({ name: f.name, from: f.from_seconds, to: f.to_seconds }));
  const toSeconds = Math.max(chart.points.at(-1)?.at_seconds ?? 1, lag.at(-1)?.at_seconds ?? 1);
  const common = { freezes: marked, toSeconds };
  const { points } = chart;
  const rests =
    report.checks.length === 0
      ? []
      : [
          '<p class="soft">After each freeze the writers rest for a moment, while both sides are compared.</p>',
        ];
  const of = (pick: (p: (typeof points)[number]) => number | null) =>
    points.map((p) => [p.at_seconds, pick(p)] as const);
  return [
    ...rests,
    timeChart({
      ...common,
      title: 'Writes acknowledged',
      unit: 'per second',
      series: [{ name: 'writes', tone: 1, points: of((p) => p.acknowledged / chart.interval_seconds) }],
    }),
    timeChart({
      ...common,
      title: 'Latency of a write, retries included',
      unit: 'ms, logarithmic',
      logarithmic: true,
      series: [
        { name: 'median', tone: 1, points: of((p) => p.p50_ms) },
        { name: '95 %', tone: 2, points: of((p) => p.p95_ms) },
        { name: 'longest', tone: 3, points: of((p) => p.max_ms) },
      ],
    }),
    timeChart({
      ...common,
      title: 'Standby behind',
      unit: 'kB of WAL',
      series: [{ name: 'lag', tone: 1, points: lag.map((s) => [s.at_seconds, s.bytes / 1_000] as const) }],
    }),
  ].map((svg) => `<div class="scroll">${svg}</div>`);
}

function gates(report: RehearsalReport): string[] {
  const names = [...new Set(report.handovers.flatMap((h) => h.gates.map((g) => g.name)))];
  if (names.length === 0) return ['<p>None was judged.</p>'];
  const mark = (passed: boolean | null | undefined): string =>
    passed === true ? '✓' : passed === false ? '✗' : '–';
  return [
    table(
      ['gate', ...report.handovers.map((h) => h.name), 'last word'],
      names.map((name) => {
        const judged = report.handovers.map((h) => h.gates.find((g) => g.name === name));
        return [name, ...judged.map((g) => mark(g?.passed)), judged.findLast((g) => g !== undefined)?.detail];
      }),
    ),
  ];
}

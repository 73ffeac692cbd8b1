import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { METRIC_NAMES, PREFIX } from '../../orchestrator/metrics/names.ts';
import {
  filledIn,
  type Grafana,
  type GrafanaPanel,
  panelsOf,
  problemsOf,
} from '../support/dashboard/problems.ts';
import { DASHBOARD, dashboardText } from '../support/dashboard/write.ts';
import { requireTool } from '../support/tool.ts';

const text = readFileSync(DASHBOARD, 'utf8');
const whole = JSON.parse(text) as Grafana;
const panels = panelsOf(whole);
const promtool = requireTool('promtool', 'apt-get install prometheus');

/** What promtool says of these expressions, as rules of a file. */
function promtoolOn(expressions: readonly string[]): { status: number | null; output: string } {
  const dir = mkdtempSync(join(tmpdir(), 'dashboard-'));
  const rules = expressions.map((expr, i) => ({ record: `panel:${i}`, expr: filledIn(expr) }));
  try {
    writeFileSync(join(dir, 'rules.yaml'), JSON.stringify({ groups: [{ name: 'panels', rules }] }));
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', join(dir, 'rules.yaml')], {
      encoding: 'utf8',
    });
    return { status, output: stdout + stderr };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The dashboard with one panel changed. */
function planted(title: string, change: (panel: GrafanaPanel) => object): Grafana {
  const changed = (p: GrafanaPanel): GrafanaPanel =>
    p.title === title ? ({ ...p, ...change(p) } as GrafanaPanel) : p;
  return {
    ...whole,
    panels: whole.panels.map((p) => changed({ ...p, panels: (p.panels ?? []).map(changed) })),
  };
}
const withQuery = (title: string, expr: string, legendFormat = 'x'): Grafana =>
  planted(title, (p) => ({ targets: [{ ...p.targets?.[0], expr, legendFormat }] }));

describe('the dashboard', () => {
  it('is as its source says', () => {
    expect(text === dashboardText(), 'it is stale: run `npm run docs`').toBe(true);
  });

  it('has its rows, and nothing is wrong with it', async () => {
    expect(whole.panels.filter((p) => p.type === 'row').map((p) => p.title)).toEqual([
      'At a glance',
      'Gates',
      'Copy',
      'Replication',
      'Source safety',
      'Counts and verification',
      'Handover and rehearsals',
      'Runtime',
    ]);
    expect(panels.length).toBeGreaterThan(40);
    expect(await problemsOf(whole)).toEqual([]);
  });

  it('shows every metric that is exported', () => {
    const asked = text + JSON.stringify(whole.annotations);
    const unseen = METRIC_NAMES.filter(
      (name) => !new RegExp(`${PREFIX}${name}(_sum|_count|_bucket)?\\b`).test(asked),
    );
    expect(unseen).toEqual([]);
  });

  it.each([
    ['no such metric', withQuery('Lag', 'orchestrate_lag{migration="$migration"}')],
    [
      'no such label',
      withQuery('Lag', 'orchestrate_replication_lag_seconds{migration="$migration",side="blue"}'),
    ],
    [
      'no such label: table',
      withQuery('Lag', 'orchestrate_replication_lag_seconds{migration="$migration"}', '{{table}}'),
    ],
    [
      'no such label: slot',
      withQuery('Lag', 'sum by (slot) (orchestrate_replication_lag_seconds{migration="$migration"})'),
    ],
    ['does not parse', withQuery('Lag', 'max(orchestrate_replication_lag_seconds{migration="$migration"}')],
    ['not of the chosen migration', withQuery('Lag', 'orchestrate_replication_lag_seconds')],
    [
      'no counter',
      withQuery('Lag', 'rate(orchestrate_queue_changes{migration="$migration"}[$__rate_interval])'),
    ],
    ['a range of its own', withQuery('Lag', 'rate(orchestrate_copy_rows_total{migration="$migration"}[5m])')],
    ['no legend', planted('Lag', (p) => ({ targets: [{ ...p.targets?.[0], legendFormat: '' }] }))],
    ['no unit', planted('Lag', () => ({ fieldConfig: { defaults: {} } }))],
    ['no description', planted('Lag', () => ({ description: '' }))],
    ['a data source of its own', planted('Memory', () => ({ datasource: { uid: 'prometheus' } }))],
    ['title twice', planted('Lag', () => ({ title: 'Phase' }))],
    ['lies on', planted('Lag', (p) => ({ gridPos: { ...p.gridPos, x: 0 } }))],
    ['__inputs', { ...whole, __inputs: [] } as Grafana],
  ])('%s: would be found', async (problem, dashboard) => {
    expect((await problemsOf(dashboard)).join('\n')).toContain(problem);
  });
});

describe.skipIf(!promtool.found)('the dashboard in promtool', () => {
  it('every expression is one, with types that fit', () => {
    const all = [
      ...panels.flatMap((p) => (p.targets ?? []).map((t) => t.expr)),
      ...whole.annotations.list.map((a) => a.expr),
    ];
    const { status, output } = promtoolOn(all);
    expect(output).toContain(`${all.length} rules found`);
    expect(status).toBe(0);
    expect(promtoolOn([...all, 'sum(rate(orchestrate_queue_changes))']).status).not.toBe(0);
  });
});

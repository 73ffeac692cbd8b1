import { parser } from '@prometheus-io/lezer-promql';
import { METRIC_NAMES, metricEntry, PREFIX } from '../../../orchestrator/metrics/names.ts';
import { createMetrics } from '../../../orchestrator/metrics/registry.ts';

interface Target {
  readonly expr: string;
  readonly legendFormat?: string;
  readonly datasource?: { readonly uid: string };
}
export interface GrafanaPanel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly Target[];
  readonly panels?: readonly GrafanaPanel[];
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults?: { readonly unit?: string } };
}
export interface Grafana {
  readonly uid: string;
  readonly schemaVersion: number;
  readonly panels: readonly GrafanaPanel[];
  readonly annotations: { readonly list: readonly { name: string; expr: string; titleFormat: string }[] };
  readonly templating: { readonly list: readonly { name: string; query: unknown }[] };
}

/** Labels that Prometheus adds to every series. */
const SCRAPED = ['job', 'instance'];

/** Metrics that may be asked for, with their labels. */
async function catalogue(): Promise<ReadonlyMap<string, readonly string[]>> {
  const known = new Map<string, readonly string[]>([
    ['ALERTS', ['alertname', 'alertstate', 'severity', 'migration', 'kind', 'side', 'direction', 'slot']],
    ['up', SCRAPED],
  ]);
  for (const name of METRIC_NAMES) {
    const entry = metricEntry(name);
    const labels = [...SCRAPED, ...(name === 'build_info' ? [] : ['migration']), ...(entry?.labels ?? [])];
    if (entry?.type === 'histogram')
      for (const part of ['_sum', '_count', '_bucket'])
        known.set(`${PREFIX}${name}${part}`, part === '_bucket' ? [...labels, 'le'] : labels);
    else known.set(`${PREFIX}${name}`, labels);
  }
  const ofProcess = createMetrics({ migration: 'm', version: '1', process: true });
  for (const line of (await ofProcess.text()).split('\n')) {
    const name = /^((?:process|nodejs)_\w+)\{/.exec(line)?.[1];
    if (name !== undefined && !known.has(name)) known.set(name, [...SCRAPED, 'migration']);
  }
  return known;
}

/** What Grafana puts in for its variables, so that the expression can be parsed. */
export const filledIn = (expr: string): string =>
  expr
    .replaceAll('$__rate_interval', '5m')
    .replaceAll('$job', '.+')
    .replaceAll('$migration', 'user-settings-org');

/** What is wrong with one expression: it does not parse, or speaks of a metric or label nobody exports. */
function wrongIn(expr: string, legend: string, known: ReadonlyMap<string, readonly string[]>): string[] {
  const text = filledIn(expr);
  const wrong: string[] = [];
  const metrics: string[] = [];
  const labels: string[] = [];
  parser.parse(text).iterate({
    enter: (node) => {
      const found = text.slice(node.from, node.to);
      if (node.type.isError) wrong.push(`does not parse at ${node.from}: ${expr}`);
      if (node.name === 'Identifier') metrics.push(found);
      if (node.name === 'LabelName') labels.push(found);
    },
  });
  if (metrics.length === 0 && !expr.includes('vector(')) wrong.push(`asks for nothing: ${expr}`);
  for (const metric of metrics) if (!known.has(metric)) wrong.push(`no such metric: ${metric}`);
  const possible = new Set(metrics.flatMap((metric) => known.get(metric) ?? []));
  for (const label of [...labels, ...[...legend.matchAll(/\{\{(\w+)\}\}/g)].map((m) => m[1] ?? '')])
    if (!possible.has(label)) wrong.push(`no such label: ${label} in ${expr}`);
  for (const [, call = '', name = ''] of expr.matchAll(/\b(rate|increase)\((\w+)/g))
    if (!/_(total|sum|count|bucket)$/.test(name)) wrong.push(`${call} of what is no counter: ${name}`);
  if (/\[\d+\w\]/.test(expr)) wrong.push(`a range of its own instead of $__rate_interval: ${expr}`);
  if (metrics.some((m) => m.startsWith(PREFIX) && m !== `${PREFIX}build_info`) && !/migration=/.test(expr))
    wrong.push(`not of the chosen migration: ${expr}`);
  return wrong;
}

/** @returns all panels that show something, those of closed rows too. */
export const panelsOf = (dashboard: Grafana): GrafanaPanel[] =>
  dashboard.panels.flatMap((p) => [p, ...(p.panels ?? [])]).filter((p) => p.type !== 'row');

/** @returns everything that is wrong with a dashboard, each with the title of its panel. */
export async function problemsOf(dashboard: Grafana): Promise<string[]> {
  const known = await catalogue();
  const wrong: string[] = [];
  if ('__inputs' in dashboard) wrong.push('__inputs: it could not be provisioned');
  if (dashboard.schemaVersion !== 39) wrong.push('schemaVersion is not 39');
  const panels = panelsOf(dashboard);
  const unique = (what: string, values: readonly (string | number)[]): void => {
    for (const v of values.filter((value, i) => values.indexOf(value) !== i))
      wrong.push(`${what} twice: ${v}`);
  };
  unique(
    'title',
    panels.map((p) => p.title),
  );
  unique('id', [
    ...panels.map((p) => p.id),
    ...dashboard.panels.filter((p) => p.type === 'row').map((p) => p.id),
  ]);
  for (const panel of panels) {
    const say = (text: string): number => wrong.push(`${panel.title}: ${text}`);
    if (panel.title === '') say('no title');
    if ((panel.description ?? '').length < 10) say('no description');
    if ((panel.fieldConfig?.defaults?.unit ?? '') === '') say('no unit');
    if (panel.gridPos.x + panel.gridPos.w > 24) say('wider than the page');
    if ((panel.targets ?? []).length === 0) say('no query');
    for (const source of [panel, ...(panel.targets ?? [])])
      if (source.datasource?.uid !== '${datasource}') say('a data source of its own');
    for (const { expr, legendFormat = '' } of panel.targets ?? []) {
      if (legendFormat === '') say('no legend');
      for (const text of wrongIn(expr, legendFormat, known)) say(text);
    }
  }
  for (const a of panels)
    for (const b of panels)
      if (a.id < b.id && overlap(a.gridPos, b.gridPos)) wrong.push(`${a.title} lies on ${b.title}`);
  for (const { name, expr, titleFormat } of dashboard.annotations.list)
    for (const text of wrongIn(expr, titleFormat, known)) wrong.push(`annotation ${name}: ${text}`);
  return wrong;
}

type Box = GrafanaPanel['gridPos'];
const overlap = (a: Box, b: Box): boolean =>
  a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

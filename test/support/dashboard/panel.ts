/** The phases of a migration in which a panel has to show something; a later one includes the earlier ones' data. */
export type Shown = 'always' | 'copying' | 'syncing' | 'rehearsed' | 'handed-over';

export interface Query {
  readonly expr: string;
  /** Grafana's template for the name of a series, e.g. `{{table}}`. */
  readonly legend: string;
}

/** One step of a threshold: from this value on, this colour. */
export type Step = readonly [from: number, colour: 'green' | 'orange' | 'red' | 'blue'];

export interface Panel {
  readonly title: string;
  /** What it shows, what is good, and what to do when it is not. */
  readonly description: string;
  readonly kind: 'stat' | 'timeseries' | 'state-timeline' | 'bargauge' | 'table';
  /** Grafana's name of the unit. */
  readonly unit: string;
  readonly width: number;
  readonly queries: readonly Query[];
  readonly shown: Shown;
  readonly thresholds?: readonly Step[];
  /** Words for values, e.g. `{ 1: ['GO', 'green'] }`. */
  readonly words?: Readonly<Record<string, readonly [text: string, colour: string]>>;
  /** The name of the series is what matters, not its value. */
  readonly byName?: true;
  readonly stacked?: true;
}

export interface Row {
  readonly title: string;
  readonly height: number;
  /** Closed until somebody wants it. */
  readonly collapsed?: true;
  readonly panels: readonly Panel[];
}

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

/** @returns a panel in Grafana's classic JSON (schemaVersion 39). */
export function panelJson(panel: Panel, id: number, at: { x: number; y: number; h: number }): object {
  return {
    id,
    type: panel.kind,
    title: panel.title,
    description: panel.description,
    datasource: DATASOURCE,
    gridPos: { x: at.x, y: at.y, w: panel.width, h: at.h },
    targets: panel.queries.map((query, i) => ({
      refId: String.fromCharCode(65 + i),
      datasource: DATASOURCE,
      expr: query.expr,
      legendFormat: query.legend,
      ...(panel.kind === 'timeseries' || panel.kind === 'state-timeline'
        ? { range: true }
        : { instant: true, range: false, ...(panel.kind === 'table' ? { format: 'table' } : {}) }),
    })),
    fieldConfig: { defaults: defaultsOf(panel), overrides: [] },
    options: optionsOf(panel),
  };
}

function defaultsOf(panel: Panel): object {
  const steps = (panel.thresholds ?? []).map(([value, color]) => ({ value, color }));
  const first = { value: null, color: steps.length > 0 || panel.words ? 'green' : 'text' };
  return {
    unit: panel.unit,
    noValue: 'unknown',
    color: { mode: panel.kind === 'timeseries' ? 'palette-classic' : 'thresholds' },
    thresholds: { mode: 'absolute', steps: [first, ...steps.filter(({ value }) => value > -Infinity)] },
    mappings: panel.words
      ? [
          {
            type: 'value',
            options: Object.fromEntries(
              Object.entries(panel.words).map(([value, [text, color]], index) => [
                value,
                { text, color, index },
              ]),
            ),
          },
        ]
      : [],
    ...(panel.kind === 'timeseries'
      ? {
          min: 0,
          custom: {
            drawStyle: 'line',
            lineWidth: 1,
            fillOpacity: panel.stacked ? 25 : 8,
            showPoints: 'never',
            spanNulls: false,
            stacking: { mode: panel.stacked ? 'normal' : 'none', group: 'A' },
            thresholdsStyle: { mode: steps.length > 0 ? 'line' : 'off' },
          },
        }
      : {}),
  };
}

function optionsOf(panel: Panel): object {
  const lastOf = { calcs: ['lastNotNull'], fields: '', values: false };
  switch (panel.kind) {
    case 'stat':
      return {
        reduceOptions: lastOf,
        colorMode: 'value',
        graphMode: 'none',
        textMode: panel.byName ? 'name' : 'auto',
        justifyMode: 'auto',
        orientation: 'auto',
      };
    case 'bargauge':
      return { reduceOptions: lastOf, displayMode: 'basic', orientation: 'horizontal', showUnfilled: true };
    case 'state-timeline':
      return { showValue: 'never', mergeValues: true, rowHeight: 0.8, legend: { showLegend: false } };
    case 'table':
      return { showHeader: true, cellHeight: 'sm' };
    case 'timeseries':
      return {
        legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
        tooltip: { mode: 'multi', sort: 'desc' },
      };
    default: {
      const never: never = panel.kind;
      throw new Error(`no such panel: ${String(never)}`);
    }
  }
}

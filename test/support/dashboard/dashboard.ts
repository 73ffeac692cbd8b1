import { panelJson, type Row } from './panel.ts';
import { ROWS } from './rows.ts';
import { S } from './selector.ts';

export const UID = 'orchestrate-migration';

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

const variable = (name: string, label: string, query: string, multi: boolean): object => ({
  name,
  label,
  type: 'query',
  datasource: DATASOURCE,
  definition: query,
  query: { query, refId: 'variable' },
  refresh: 2,
  sort: 1,
  includeAll: multi,
  multi,
  ...(multi ? { allValue: '.+', current: { text: 'All', value: '$__all' } } : {}),
});

const annotation = (name: string, color: string, expr: string, title: string, atValue: boolean): object => ({
  name,
  enable: true,
  iconColor: color,
  datasource: DATASOURCE,
  expr,
  titleFormat: title,
  step: '10s',
  useValueForTime: atValue,
});

/** The dashboard as Grafana imports and provisions it. */
export function dashboard(rows: readonly Row[] = ROWS): object {
  return {
    uid: UID,
    title: 'orchestrate: migration',
    description:
      'One blue-green migration: where it is, whether it may be cut over, and whether it may go back.',
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    tags: ['orchestrate', 'postgresql'],
    links: [],
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', refresh: 1 },
        variable('job', 'Job', 'label_values(orchestrate_build_info, job)', true),
        variable(
          'migration',
          'Migration',
          'label_values(orchestrate_migration_info{job=~"$job"}, migration)',
          false,
        ),
      ],
    },
    annotations: {
      list: [
        annotation(
          'Phases',
          'blue',
          `orchestrate_phase_start_timestamp_seconds{${S}} * 1000`,
          '{{phase}}',
          true,
        ),
        annotation(
          'Decisions',
          'green',
          `orchestrate_decision_timestamp_seconds{${S}} * 1000`,
          'decided',
          true,
        ),
        annotation('Freezes', 'red', `orchestrate_freeze_active{${S}} == 1`, 'writes are frozen', false),
      ],
    },
    panels: laidOut(rows),
  };
}

/** 24 columns, rows from top to bottom; the panels of a closed row are in it. */
function laidOut(rows: readonly Row[]): object[] {
  const panels: object[] = [];
  let y = 0;
  let id = 1;
  for (const row of rows) {
    const inside: object[] = [];
    const header = { id: id++, type: 'row', title: row.title, gridPos: { x: 0, y, w: 24, h: 1 } };
    y += 1;
    let x = 0;
    for (const panel of row.panels) {
      if (x + panel.width > 24) {
        x = 0;
        y += row.height;
      }
      inside.push(panelJson(panel, id++, { x, y, h: row.height }));
      x += panel.width;
    }
    y += row.height;
    const collapsed = row.collapsed === true;
    panels.push({ ...header, collapsed, panels: collapsed ? inside : [] });
    if (!collapsed) panels.push(...inside);
  }
  return panels;
}

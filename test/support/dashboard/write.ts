import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dashboard } from './dashboard.ts';

export const DASHBOARD = fileURLToPath(
  new URL('../../../grafana/dashboards/orchestrate-migration.json', import.meta.url),
);

/** The text of the file, as it has to be. */
export const dashboardText = (): string => `${JSON.stringify(dashboard(), null, 2)}\n`;

/** A part of `npm run docs`. */
export function writeDashboard(): void {
  const before = ((): string => {
    try {
      return readFileSync(DASHBOARD, 'utf8');
    } catch {
      return '';
    }
  })();
  if (before !== dashboardText()) writeFileSync(DASHBOARD, dashboardText());
}

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dashboardText } from '../dashboard/write.ts';
import { fillIn } from '../readme/markdown.ts';
import { chartValues } from './readme.ts';
import { valuesSchema } from './values-schema.ts';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
export const CHART = `${ROOT}helm/orchestrate`;

/**
 * The files of the chart that follow from others: a chart can load nothing outside of itself, so rules and dashboard
 * are in it once more, byte for byte.
 */
export function chartFiles(): Readonly<Record<string, string>> {
  const readme = `${CHART}/README.md`;
  const values = readFileSync(`${CHART}/values.yaml`, 'utf8');
  return {
    [`${CHART}/files/rules.yaml`]: readFileSync(`${ROOT}grafana/rules/orchestrate.yaml`, 'utf8'),
    [`${CHART}/files/dashboard.json`]: dashboardText(),
    [`${CHART}/values.schema.json`]: `${JSON.stringify(valuesSchema(), null, 2)}\n`,
    [readme]: fillIn(readFileSync(readme, 'utf8'), { values: chartValues(values) }),
  };
}

/** A part of `npm run docs`. */
export function writeChart(): void {
  for (const [file, text] of Object.entries(chartFiles())) writeFileSync(file, text);
}

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { writeChart } from '../chart/write.ts';
import { writeDashboard } from '../dashboard/write.ts';
import { writeSchemas } from '../schemas/write.ts';
import { copyFigures } from './benchmarks.ts';
import { errors, exitCodes, metrics } from './catalogues.ts';
import { commands, options } from './interface.ts';
import { fillIn } from './markdown.ts';
import { gates, states, steps } from './states.ts';

export const README = fileURLToPath(new URL('../../../README.md', import.meta.url));

/** @returns the README with its generated sections as the program is now. */
export function generated(readme: string): string {
  return fillIn(readme, {
    states: states(),
    steps: steps(),
    gates: gates(),
    commands: commands(),
    options: options(),
    'exit-codes': exitCodes(),
    metrics: metrics(),
    errors: errors(),
    'bench-copy': copyFigures(),
  });
}

/** `npm run docs`: the README, the dashboard in grafana/, and what the chart takes from both. */
export function main(): number {
  const before = readFileSync(README, 'utf8');
  const after = generated(before);
  if (after !== before) writeFileSync(README, after);
  writeSchemas();
  writeDashboard();
  writeChart();
  process.stdout.write(after === before ? 'README.md is up to date\n' : 'README.md was brought up to date\n');
  return 0;
}

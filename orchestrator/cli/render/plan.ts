import type { PlanDocument } from '../../runner/plan.ts';

/** The plan for a person. */
export function renderPlan(p: PlanDocument): string {
  const side = (name: 'blue' | 'green') => [`On ${name}:`, ...p.creates[name].map((what) => `  ${what}`)];
  const sql = Object.entries(p.sql ?? {}).flatMap(([name, text]) => ['', `-- ${name}`, `${text};`]);
  return [
    `${p.migration}: what orchestrate run would do`,
    ...side('blue'),
    ...side('green'),
    `Copy: ${p.copy.from} with ${p.copy.workers} workers into`,
    ...p.copy.targets.map((t) => `  ${t.table} (${t.columns} columns)`),
    `  ${p.copy.parked} (rows without an image, whole)`,
    forecastLine(p.copy),
    `Handover: at most ${p.handover.freeze_budget_seconds} s without writes, traffic=${p.handover.traffic}`,
    ...sql,
  ].join('\n');
}

function forecastLine({ forecast, forecast_unknown }: PlanDocument['copy']): string {
  if (forecast === null) return `  time unknown: ${forecast_unknown ?? 'nothing was sampled'}`;
  const { rows, seconds, rows_per_second, format, sampled_rows, sampled_seconds } = forecast;
  return (
    `  about ${seconds.toFixed(seconds < 10 ? 1 : 0)} s for ${rows} rows (${rows_per_second} a second, ${format}; ` +
    `sampled ${sampled_rows} rows in ${sampled_seconds.toFixed(1)} s), then keys and indexes`
  );
}

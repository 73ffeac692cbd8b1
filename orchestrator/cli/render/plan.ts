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
    `Handover: at most ${p.handover.freeze_budget_seconds} s without writes, traffic=${p.handover.traffic}`,
    ...sql,
  ].join('\n');
}

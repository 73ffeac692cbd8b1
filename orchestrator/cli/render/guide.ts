import type { GuideDocument } from '../../phases/guide-check.ts';
import type { Style } from '../terminal.ts';
import { count, seconds } from './format.ts';

/** `verify --guide` for a person: each query with expected, found and verdict, the sample, and the exact account. */
export function renderGuide(d: GuideDocument, style: Style): string {
  const checks = d.checks.flatMap((c) => [
    `${c.ok ? style.green('✓') : style.red('✗')} ${c.check}`,
    `    expected ${c.expected} · found ${c.found}`,
  ]);
  const header = ['user_settings', 'user', 'org', 'role', 'settings'];
  const rows = d.sample.map((s) => [s.user_settings_id, s.user_id, s.org_id, s.role, s.settings_id]);
  const sample = [header, ...rows].map((row) =>
    `  ${row.map((cell) => String(cell ?? '–').padEnd(14)).join('')}`.trimEnd(),
  );
  const parked = d.parked.null_key + d.parked.empty_key + d.parked.duplicate;
  return [
    ...checks,
    'Sample (ids):',
    ...sample,
    `Mapped ${count(d.mapped)} + parked ${count(parked)} (null key ${count(d.parked.null_key)}, empty key ${count(d.parked.empty_key)}, duplicate ${count(d.parked.duplicate)}) = ${count(d.rows)} rows, ${seconds(d.duration_seconds)}.`,
  ].join('\n');
}

import type { EstimateDocument } from '../../phases/migrate/estimate.ts';

/** What a migration in place would take, for a person. */
export function renderEstimate(d: EstimateDocument): string {
  return [
    `user_settings: ${d.rows} rows, ${size(d.table_bytes)}; the database: ${size(d.database_bytes)}, and about ${size(d.added_bytes)} more afterwards`,
    `057: about ${seconds(d.estimated_seconds)} in ${d.batches} batches of ${d.batch_size} (${d.rows_per_second} rows a second; sampled ${d.sampled_rows} rows in ${seconds(d.sampled_seconds)}, rolled back)`,
    `Writers wait for about ${seconds(d.writers_locked_seconds)} at the end`,
    `Maintenance window: ${d.maintenance_window_seconds} s for 057, and what the application needs to be changed over`,
    ...(d.indexes.length === 0
      ? ['Indexes: none is worth adding']
      : ['Indexes worth adding:', ...d.indexes.map((i) => `  ${i.statement};  -- ${i.why}`)]),
    `Next: ${d.next_steps.join(' · ')}`,
  ].join('\n');
}

const size = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const seconds = (s: number): string => `${s.toFixed(s < 10 ? 1 : 0)} s`;

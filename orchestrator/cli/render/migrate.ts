import type { InPlaceDocument, MigrateDocument } from '../../phases/migrate.ts';

/** What `migrate` did, or how things are. */
export function renderMigrate(document: MigrateDocument): string {
  const done = document.changed.map(
    (name) => `${document.action === 'up' ? 'applied' : 'taken back'}: ${name}`,
  );
  const all = document.migrations.map((m) => `${m.name}  ${m.applied_at ?? 'pending'}`);
  const listed = document.action === 'status' || done.length === 0;
  return [
    ...done,
    ...(listed ? all : []),
    ...(document.in_place === null ? [] : inPlace(document.in_place)),
    ...(document.next_steps.length === 0 ? [] : [`Next: ${document.next_steps.join(' · ')}`]),
  ].join('\n');
}

function inPlace(d: InPlaceDocument): string[] {
  const rows = `${d.rows_read} of ${d.rows_expected} rows in ${d.batches} batches, ${d.rows_again} of them again`;
  const failed = d.failed;
  return [
    `057 in place: ${rows}, ${d.busy_seconds.toFixed(2)} s at work`,
    ...(d.locked_seconds === null
      ? []
      : [`writers waited ${d.locked_seconds.toFixed(3)} s for the last pass`]),
    ...(d.database_bytes_after === null
      ? []
      : [`database: ${size(d.database_bytes_before)} before, ${size(d.database_bytes_after)} after`]),
    ...(failed === null
      ? []
      : [
          `batch ${failed.batch} failed at user_settings row ${failed.id ?? 'unknown'}: error ${failed.sqlstate ?? 'unknown'}${failed.on === null ? '' : ` on ${failed.on}`}`,
        ]),
  ];
}

const size = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

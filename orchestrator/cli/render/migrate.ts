import type { InPlaceDocument, MigrateDocument } from '../../phases/migrate.ts';
import { waitLines } from './status.ts';

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
    ...waitLines(document.lock_waits),
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
    ...(d.query_seconds === null
      ? []
      : [
          `one user's settings: ${ms(d.query_seconds.old)} through user_settings, ${ms(d.query_seconds.new)} through the new tables`,
        ]),
    ...(failed === null
      ? []
      : [
          `batch ${failed.batch} failed at user_settings row ${failed.id ?? 'unknown'}: error ${failed.sqlstate ?? 'unknown'}${failed.on === null ? '' : ` on ${failed.on}`}`,
        ]),
  ];
}

const ms = (seconds: number): string => `${(seconds * 1_000).toFixed(1)} ms`;
const size = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

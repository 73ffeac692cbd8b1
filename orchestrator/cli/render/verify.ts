import type { VerifyDocument } from '../../state/documents.ts';
import { compact, count, seconds } from './format.ts';

/** More lines than this help nobody; `--json` has them all. */
const SHOWN = 20;

/** `verify` for a person: names of tables, keys and columns, never values. */
export function renderVerify(d: VerifyDocument): string {
  const parked = d.parked.null_key + d.parked.empty_key + d.parked.duplicate;
  const lines = d.mismatches
    .slice(0, SHOWN)
    .map(
      (m) =>
        ` ${m.kind.padEnd(9)}  ${m.table}  key ${m.key}${m.columns.length > 0 ? `  ${m.columns.join(', ')}` : ''}`,
    );
  if (d.mismatches.length > SHOWN)
    lines.push(` and ${count(d.mismatches.length - SHOWN)} more; --json names them all`);
  if (d.repaired !== undefined) lines.push(`Repaired ${count(d.repaired)} keys from the serving side.`);
  const verdict = d.clean ? 'No differences' : `${count(d.mismatches.length)} differences`;
  return [
    ...lines,
    `${verdict} in ${compact(d.rows_compared)} rows at ${d.lsn}, ${seconds(d.duration_seconds)}.`,
    `Mapped ${count(d.mapped)} · parked ${count(parked)} (null key ${count(d.parked.null_key)}, empty key ${count(d.parked.empty_key)}, duplicate ${count(d.parked.duplicate)})`,
  ].join('\n');
}

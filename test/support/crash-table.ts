/** What the crash sweep found, a line a run: printed, and kept so that a sweep may go on where it stopped. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { HandoverKind } from '../../orchestrator/pg/side.ts';
import { type CrashCase, label } from './crash-case.ts';

export interface CrashRow {
  readonly case: string;
  readonly kind: HandoverKind;
  readonly fault: string;
  readonly decided: boolean;
  readonly restarts: number;
  readonly writes: number;
  /** Longest time without an acknowledged write before the decision, and after it, in ms. */
  readonly gapBefore: number;
  readonly gapAfter: number;
  readonly seconds: number;
  readonly wrong: readonly string[];
}

type Named = Pick<CrashRow, 'case' | 'kind' | 'fault'>;
export const nameOfRow = (row: Named): string => `${row.kind} ${row.case} ${row.fault}`;
export const nameOfCase = (one: CrashCase): string =>
  nameOfRow({ kind: one.kind, case: label(one), fault: one.fault });

/** The rows of earlier runs, one JSON document a line; a run that was made again counts once. */
export function readRows(file: string): CrashRow[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  const parsed = lines.map((line) => JSON.parse(line) as CrashRow);
  return [...new Map(parsed.map((row) => [nameOfRow(row), row])).values()];
}

export function keepRow(file: string, row: CrashRow): void {
  appendFileSync(file, `${JSON.stringify(row)}\n`);
}

export const lineOf = (row: CrashRow): string =>
  [
    row.kind.padEnd(7),
    row.case.padEnd(34),
    row.fault.padEnd(5),
    row.decided ? 'decided ' : 'reopened',
    `restarts ${row.restarts}`,
    `writes ${String(row.writes).padStart(5)}`,
    `gap ${String(Math.round(row.gapBefore)).padStart(5)} ms before`,
    `${String(Math.round(row.gapAfter)).padStart(5)} ms after`,
    `${row.seconds.toFixed(1).padStart(5)} s`,
    row.wrong.length === 0 ? 'ok' : `WRONG ${row.wrong.join('; ')}`,
  ].join('  ');

/** @param all how many runs there are. */
export function tableOf(table: readonly CrashRow[], all: number, budgetMs: number): string {
  const longest = (pick: (row: CrashRow) => number) => Math.round(Math.max(0, ...table.map(pick)));
  return [
    ...table.map(lineOf).sort(),
    `${table.length} of ${all} runs, ${table.filter((r) => r.decided).length} decided, ` +
      `${table.filter((r) => r.wrong.length > 0).length} wrong; ` +
      `${table.reduce((sum, r) => sum + r.writes, 0)} writes acknowledged; longest gap before a decision ` +
      `${longest((r) => r.gapBefore)} ms (budget ${budgetMs} ms), after it ${longest((r) => r.gapAfter)} ms`,
  ].join('\n');
}

/** What the copy's benchmark has measured, and what follows from it; the README's table is made of the same. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { median } from './figures.ts';

export interface CopyRow {
  readonly users: number;
  readonly contender: string;
  readonly round: number;
  /** By what they were spent on; `cpu` is the program's own, `rss_mib` no time at all. */
  readonly seconds: { readonly [what: string]: number };
  readonly blueCpu: number;
  readonly greenCpu: number;
}

/** Figures of a run with `--record`. */
export interface RecordedCopy {
  readonly machine: {
    readonly cpus: number;
    readonly model?: string;
    readonly memory_gib: number;
    readonly node: string;
  };
  readonly rows: readonly CopyRow[];
}

export const RECORDED_COPY = fileURLToPath(new URL('copy.json', import.meta.url));

/** @returns what was recorded last, or undefined before the first time. */
export function recordedCopy(): RecordedCopy | undefined {
  if (!existsSync(RECORDED_COPY)) return undefined;
  return JSON.parse(readFileSync(RECORDED_COPY, 'utf8')) as RecordedCopy;
}

/** @returns the median of all rounds, or undefined where none has that figure. */
export function medianOf(
  rows: readonly CopyRow[],
  users: number,
  contender: string,
  figure: (row: CopyRow) => number | undefined,
): number | undefined {
  const found = rows
    .filter((r) => r.users === users && r.contender === contender)
    .flatMap((r) => figure(r) ?? []);
  return found.length === 0 ? undefined : median(found);
}

/** What the guide says a migration of 23,000 users takes, from prepare to the last index. */
const GUIDE_USERS = 23_000;
const GUIDE_SECONDS = '45-90';

/** The ratios of one size of table. */
export function ratiosOf(rows: readonly CopyRow[], users: number) {
  const of = (contender: string, what: string) => medianOf(rows, users, contender, (r) => r.seconds[what]);
  const ratio = (a: number | undefined, b: number | undefined) =>
    a === undefined || b === undefined ? undefined : Number((a / b).toFixed(3));
  return {
    total_vs_pgcopydb: ratio(of('orchestrate', 'total'), of('pgcopydb', 'total')),
    data_vs_text_pipe: ratio(of('orchestrate', 'data'), of('text pipe', 'data')),
    data_vs_binary_pipe: ratio(of('orchestrate', 'data'), of('binary pipe', 'data')),
    predicted_vs_data: ratio(of('orchestrate', 'predicted'), of('orchestrate', 'data')),
    all_seconds: of('orchestrate', 'all'),
    peak_rss_mib: Math.round(
      Math.max(...rows.filter((r) => r.users === users).map((r) => r.seconds['rss_mib'] ?? 0)),
    ),
    ...(users === GUIDE_USERS ? { guide_seconds: GUIDE_SECONDS } : {}),
  };
}

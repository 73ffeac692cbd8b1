/**
 * Which operation met which fault how often, over all runs of the random test: one line of JSON a run in a record, and
 * the table that is made of it. `node test/support/run-typescript.mjs test/faults/random/tally.ts RECORD` prints it.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { ENDINGS, OPERATIONS } from './operations.ts';
import { FAULTS, type Hits } from './strikes.ts';

/** How often each operation is to meet each fault before the runs say anything. */
export const ENOUGH_HITS = 5;

export interface Run {
  readonly seed: number;
  readonly passed: boolean;
  readonly acknowledged: number;
  /** Operation → fault → hits. */
  readonly hits: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export function runOf(seed: number, passed: boolean, acknowledged: number, hits: Hits): Run {
  return {
    seed,
    passed,
    acknowledged,
    hits: Object.fromEntries([...hits].map(([kind, faults]) => [kind, Object.fromEntries(faults)])),
  };
}

/** Adds a run to a record, at once: it is there whatever ends the next one. */
export function record(file: string, run: Run): void {
  mkdirSync(dirname(resolve(file)), { recursive: true });
  appendFileSync(file, `${JSON.stringify(run)}\n`);
}

export function runsIn(file: string): Run[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Run);
}

/** @returns the sum over the runs that passed, as a table, and which pairs were not hit often enough. */
export function tableOf(runs: readonly Run[]): string {
  const kinds = [...Object.keys(OPERATIONS), ...ENDINGS];
  const faults = Object.keys(FAULTS);
  const passed = runs.filter((run) => run.passed);
  const hits = (kind: string, fault: string): number =>
    passed.reduce((sum, run) => sum + (run.hits[kind]?.[fault] ?? 0), 0);
  const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  const rare = kinds.flatMap((kind) =>
    faults.filter((fault) => hits(kind, fault) < ENOUGH_HITS).map((fault) => `${kind} × ${fault}`),
  );
  const failed = runs.filter((run) => !run.passed).map((run) => run.seed);
  return [
    `${passed.length} of ${runs.length} runs passed, ${passed.reduce((sum, run) => sum + run.acknowledged, 0)} acknowledged transactions.`,
    ...(failed.length === 0 ? [] : [`Seeds that failed: ${failed.join(', ')}.`]),
    rare.length === 0
      ? `Every operation met every fault at least ${ENOUGH_HITS} times.`
      : `Fewer than ${ENOUGH_HITS} times: ${rare.join(', ')}.`,
    '',
    row(['operation', ...faults]),
    row(['---', ...faults.map(() => '--:')]),
    ...kinds.map((kind) => row([kind, ...faults.map((fault) => hits(kind, fault))])),
    '',
  ].join('\n');
}

export async function main([file]: readonly string[]): Promise<number> {
  if (file === undefined) {
    process.stderr.write('which record?\n');
    return 2;
  }
  process.stdout.write(tableOf(runsIn(file)));
  return 0;
}

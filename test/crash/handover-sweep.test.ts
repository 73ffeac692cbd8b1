/**
 * The crash sweep of the handover (I2, I4, I5, I12): every failpoint that a direction passes, times kill -9, a restart
 * of either server and a reset of every connection, with writers on both sides all the time.
 *
 * `ORCHESTRATE_CRASH_RUNS=all` makes every run there is (default: a sample of 60), `ORCHESTRATE_CRASH_FROM` leaves out
 * the first so many, `ORCHESTRATE_CRASH_SEED` chooses another order, `ORCHESTRATE_CRASH_ONLY` a pattern of labels,
 * `ORCHESTRATE_CRASH_LANES` how many pairs of servers share the runs (2). With `ORCHESTRATE_CRASH_LOG=FILE` every run is
 * kept there and never made again, and `ORCHESTRATE_CRASH_SECONDS` says when to begin no more: call it until all are done.
 */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HandoverKind, handoverFrom } from '../../orchestrator/pg/side.ts';
import { type CrashCase, casesOf, label, shuffled } from '../support/crash-case.ts';
import { BUDGET_MS, CrashLane } from '../support/crash-lane.ts';
import {
  type CrashRow,
  keepRow,
  lineOf,
  nameOfCase,
  nameOfRow,
  readRows,
  tableOf,
} from '../support/crash-table.ts';

const given = (name: string): string | undefined => process.env[`ORCHESTRATE_CRASH_${name}`];
const KINDS = ['cutover', 'revert'] as const;

describe('crash sweep of the handover', () => {
  const begun = performance.now();
  const lanes: CrashLane[] = [];

  beforeAll(async () => {
    const opened = await Promise.allSettled(
      Array.from({ length: Number(given('LANES') ?? 2) }, () => CrashLane.open()),
    );
    for (const lane of opened) {
      if (lane.status === 'rejected') throw lane.reason;
      lanes.push(lane.value);
    }
  });
  afterAll(async () => {
    await Promise.all(lanes.map((lane) => lane.end()));
  });

  const late = (): boolean => {
    const limit = given('SECONDS');
    return limit !== undefined && performance.now() - begun > Number(limit) * 1_000;
  };

  /** Takes case after case of the direction it can go, until none is left. */
  const work = async (
    lane: CrashLane,
    left: Record<HandoverKind, CrashCase[]>,
    done: (row: CrashRow) => void,
  ): Promise<void> => {
    while (left.cutover.length + left.revert.length > 0 && !late()) {
      const { serving } = await lane.settled();
      const kind = handoverFrom(serving);
      const one = left[kind].shift();
      if (one) done(await lane.sweepOne(one));
      else await lane.plain(kind);
    }
  };

  it('nothing acknowledged is lost, never do both sides take writes, and run alone mends everything', async () => {
    const [first] = lanes;
    if (!first) throw new Error('no lane');
    const hits = { cutover: await first.traced('cutover'), revert: await first.traced('revert') };
    for (const kind of KINDS)
      for (const step of ['freeze', 'drain', 'verify', 'stop', 'arm', 'decide', 'open', 'switch', 'reverse'])
        expect([...hits[kind].keys()], kind).toContain(`${step}.after`);
    const all = shuffled(
      KINDS.flatMap((kind) => casesOf(kind, hits[kind])),
      given('SEED') ?? 'handover',
    ).filter((one) => new RegExp(given('ONLY') ?? '').test(label(one)));
    const log = given('LOG');
    const earlier = log === undefined ? [] : readRows(log);
    const made = new Set(earlier.map(nameOfRow));
    const count = given('RUNS') ?? '60';
    const start = Number(given('FROM') ?? 0);
    const wanted = all
      .slice(start, count === 'all' ? undefined : start + Number(count))
      .filter((one) => !made.has(nameOfCase(one)));
    const left = {
      cutover: wanted.filter((one) => one.kind === 'cutover'),
      revert: wanted.filter((one) => one.kind === 'revert'),
    };
    const table: CrashRow[] = [];
    const done = (row: CrashRow): void => {
      table.push(row);
      if (log !== undefined) keepRow(log, row);
      process.stderr.write(`${lineOf(row)}\n`);
    };
    const ended = await Promise.allSettled(lanes.map((lane) => work(lane, left, done)));
    const text = tableOf([...earlier, ...table], all.length, BUDGET_MS);
    process.stdout.write(`\n${text}\n`);
    const file = given('TABLE');
    if (file !== undefined) writeFileSync(file, `${text}\n`);
    for (const lane of ended) if (lane.status === 'rejected') throw lane.reason;
    expect(table.length).toBe(late() ? table.length : wanted.length);
    expect([...earlier, ...table].filter((row) => row.wrong.length > 0)).toEqual([]);
  });
});

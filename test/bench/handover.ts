/**
 * The freeze that clients feel: the longest time in which none of them had a write acknowledged, in many cutovers and
 * reverts under load, with a table of full size and with a tenth of it.
 * Run: `npm run bench -- handover [--rows N] [--pairs N] [--rate N] [--clients N] [--only full|tenth] [--json] [--sample]`;
 * `--only` makes one size in a call of its own, without the ratio of both.
 */
import { parseArgs } from 'node:util';
import { feltFreeze, readTimeline, windowBetween } from '../../orchestrator/rehearsal/ledger/timing.ts';
import { readLedger } from '../../orchestrator/rehearsal/ledger.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { buildProgram } from '../support/program.ts';
import { machine, share } from './figures.ts';
import { withLive } from './live.ts';

interface Row {
  readonly rows: number;
  readonly kind: 'cutover' | 'revert';
  readonly felt_ms: number;
  readonly longest_wait_ms: number;
  /** What the program says the freeze took. */
  readonly freeze_ms: number;
  readonly steps_ms: Readonly<Record<string, number>>;
  /** Compared inside the freeze. */
  readonly keys: number;
}

interface Load {
  readonly pairs: number;
  readonly rate: number;
  readonly clients: number;
}

async function measure(users: number, load: Load, tell: (row: Row) => void): Promise<Row[]> {
  return withLive(
    { users, rate: load.rate, clients: load.clients },
    async ({ journey, ledger, workload }) => {
      const documents: HandoverDocument[] = [];
      for (let n = 0; n < 2 * load.pairs; n++) {
        const kind = n % 2 === 0 ? 'cutover' : 'revert';
        ledger.mark(`begin ${n}`);
        const ended = await journey.command(kind, '--yes', '--json', '--accept-parked', 'all');
        ledger.mark(`end ${n}`);
        if (ended.exit !== 0)
          throw new Error(`${kind} ended with ${String(ended.exit)}: ${ended.stderr.slice(-1_500)}`);
        documents.push(ended.json<HandoverDocument>());
      }
      const statistics = await workload.stop();
      if (statistics.unknown > 0) throw new Error(`${statistics.unknown} writes without an answer`);
      const timeline = await readTimeline(readLedger(ledger.path));
      const made = documents.map((document, n): Row => {
        const felt = feltFreeze(timeline, windowBetween(timeline, `begin ${n}`, `end ${n}`));
        return {
          rows: users,
          kind: n % 2 === 0 ? 'cutover' : 'revert',
          felt_ms: Math.round(felt.longestGapMs),
          longest_wait_ms: Math.round(felt.longestWaitMs),
          freeze_ms: Math.round((document.freeze_seconds ?? Number.NaN) * 1_000),
          steps_ms: Object.fromEntries(document.steps.map((s) => [s.step, Math.round(s.seconds * 1_000)])),
          keys: Number.parseInt(document.steps.find((s) => s.step === 'verify')?.note ?? '', 10),
        };
      });
      for (const row of made) tell(row);
      const kept = statistics.acknowledged / Math.max(1, statistics.offered);
      process.stderr.write(
        `${users} rows: ${statistics.offered} writes offered, ${statistics.shed} shed, ${(kept * 100).toFixed(1)} % acknowledged, ` +
          `${statistics.refused} refused by a fence\n`,
      );
      return made;
    },
  );
}

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: 'string', default: '1000000' },
      pairs: { type: 'string', default: '20' },
      rate: { type: 'string', default: '1000' },
      clients: { type: 'string', default: '8' },
      only: { type: 'string' },
      json: { type: 'boolean', default: false },
      sample: { type: 'boolean', default: false },
    },
  });
  await buildProgram();
  const users = values.sample ? 5_000 : Number(values.rows);
  const load: Load = values.sample
    ? { pairs: 1, rate: 100, clients: 4 }
    : { pairs: Number(values.pairs), rate: Number(values.rate), clients: Number(values.clients) };
  const tell = (row: Row): void => {
    if (!values.json) process.stdout.write(`${JSON.stringify(row)}\n`);
  };
  const tenth = values.only === 'full' ? [] : await measure(Math.round(users / 10), load, tell);
  const full = values.only === 'tenth' ? [] : await measure(users, load, tell);
  const felt = (rows: readonly Row[]) => rows.map((row) => row.felt_ms);
  const both = full.length > 0 && tenth.length > 0;
  const ratios = {
    ...(full.length > 0
      ? { freeze_p50_ms: share(felt(full), 0.5), freeze_p99_ms: share(felt(full), 0.99) }
      : {}),
    ...(tenth.length > 0
      ? { freeze_p50_ms_tenth: share(felt(tenth), 0.5), freeze_p99_ms_tenth: share(felt(tenth), 0.99) }
      : {}),
    ...(both
      ? { freeze_1m_vs_100k: Number((share(felt(full), 0.5) / share(felt(tenth), 0.5)).toFixed(3)) }
      : {}),
  };
  const document = { machine: machine(), rounds: load.pairs, users, rows: [...tenth, ...full], ratios };
  process.stdout.write(
    values.json ? `${JSON.stringify(document)}\n` : `${JSON.stringify(ratios, null, 2)}\n`,
  );
  return 0;
}

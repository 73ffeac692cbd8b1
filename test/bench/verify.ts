/**
 * A sweep under load against the plainest thing that reads as much: one hash over every row, as text, on each side, in
 * turns. Run: `npm run bench -- verify [--rows N] [--rounds N] [--sweeps N] [--rate N] [--json] [--sample]`.
 *
 * The first `rounds` sweeps are measured beside scans; the rest only have to be clean.
 */
import { parseArgs } from 'node:util';
import type { VerifyDocument } from '../../orchestrator/state/documents.ts';
import { buildProgram } from '../support/program.ts';
import { withClient } from '../support/sql.ts';
import { machine, share } from './figures.ts';
import { type Live, withLive } from './live.ts';

const SCANS = {
  blue: 'SELECT sum(hashtextextended(u::text, 0)) FROM user_settings AS u',
  green: `
    SELECT sum(n) FROM (
      SELECT sum(hashtextextended(t::text, 0)) AS n FROM "user" AS t UNION ALL
      SELECT sum(hashtextextended(t::text, 0)) FROM org AS t UNION ALL
      SELECT sum(hashtextextended(t::text, 0)) FROM org_user AS t UNION ALL
      SELECT sum(hashtextextended(t::text, 0)) FROM settings AS t) AS parts`,
} as const;

interface Row {
  readonly round: number;
  readonly sweep_seconds: number;
  readonly rows_compared: number;
  readonly differences: number;
  /** Absent where only the sweep was made. */
  readonly scan_seconds?: { readonly blue: number; readonly green: number };
}

async function scan(live: Live, side: 'blue' | 'green'): Promise<number> {
  return withClient(live.urls[side].urls.superuser, async (client) => {
    const began = performance.now();
    await client.query(SCANS[side]);
    return (performance.now() - began) / 1_000;
  });
}

async function sweep(live: Live): Promise<VerifyDocument> {
  const ended = await live.journey.command('verify', '--json');
  const document = ended.json<VerifyDocument>();
  if (ended.exit !== 0 && document.mismatches === undefined)
    throw new Error(`verify ended with ${String(ended.exit)}: ${ended.stderr.slice(-1_500)}`);
  return document;
}

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: 'string', default: '1000000' },
      rounds: { type: 'string', default: '5' },
      sweeps: { type: 'string', default: '50' },
      rate: { type: 'string', default: '1000' },
      clients: { type: 'string', default: '8' },
      json: { type: 'boolean', default: false },
      sample: { type: 'boolean', default: false },
    },
  });
  await buildProgram();
  const users = values.sample ? 5_000 : Number(values.rows);
  const rounds = values.sample ? 1 : Number(values.rounds);
  const sweeps = values.sample ? 2 : Number(values.sweeps);
  const rate = values.sample ? 100 : Number(values.rate);
  const made = await withLive({ users, rate, clients: Number(values.clients) }, async (live) => {
    const measured: Row[] = [];
    for (let round = 1; round <= sweeps; round++) {
      const scanned =
        round <= rounds ? { blue: await scan(live, 'blue'), green: await scan(live, 'green') } : undefined;
      const document = await sweep(live);
      const row: Row = {
        round,
        sweep_seconds: document.duration_seconds,
        rows_compared: document.rows_compared,
        differences: document.mismatches.length,
        ...(scanned ? { scan_seconds: scanned } : {}),
      };
      measured.push(row);
      if (!values.json) process.stdout.write(`${JSON.stringify(row)}\n`);
      if (document.rows_compared < users / 2) throw new Error('the sweep compared next to nothing');
    }
    const { acknowledged, shed, offered } = live.workload.statistics();
    return { measured, acknowledged, shed, offered };
  });
  const beside = made.measured.filter((row) => row.scan_seconds !== undefined);
  const median = (pick: (row: Row) => number) => share(beside.map(pick), 0.5);
  const slower = Math.max(
    median((row) => row.scan_seconds?.blue ?? 0),
    median((row) => row.scan_seconds?.green ?? 0),
  );
  const ratios = {
    sweep_vs_scan: Number((median((row) => row.sweep_seconds) / slower).toFixed(3)),
    sweep_seconds: median((row) => row.sweep_seconds),
    slower_scan_seconds: slower,
    sweeps: made.measured.length,
    false_differences: made.measured.reduce((sum, row) => sum + row.differences, 0),
  };
  const { measured, ...load } = made;
  const document = { machine: machine(), rounds, users, load, rows: measured, ratios };
  process.stdout.write(
    values.json ? `${JSON.stringify(document)}\n` : `${JSON.stringify({ load, ratios }, null, 2)}\n`,
  );
  return ratios.false_differences === 0 ? 0 : 1;
}

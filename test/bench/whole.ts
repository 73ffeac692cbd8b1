/**
 * The whole way to a proven copy with the program as it ships: preflight, `run` through copy, build and catching up to
 * the end of the first sweep; its times and its peak memory. Run: `npm run bench -- whole [--rows N] [--json]`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { setUpDatabase } from '../../orchestrator/rehearsal/embedded/roles.ts';
import { startServer } from '../../orchestrator/rehearsal/embedded/server.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import { buildProgram, PROGRAM } from '../support/program.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { machine, peakMib } from './figures.ts';

/** Seconds since the first entry at which the last entry of each kind was written. */
const STEPS = `
  SELECT event || coalesce(' ' || (detail->>'to'), '') AS step,
         extract(epoch FROM max(at) - (SELECT min(at) FROM orchestrator.journal))::float8 AS at
  FROM orchestrator.journal
  GROUP BY 1
  ORDER BY 2`;

const SWEPT = `
  SELECT detail FROM orchestrator.journal WHERE event = 'sweep' ORDER BY id LIMIT 1`;

const AVERAGE_ROW = `
  SELECT avg(pg_column_size(u.*))::integer AS bytes FROM (SELECT * FROM user_settings LIMIT 10000) AS u`;

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: 'string', default: '1000000' },
      profile: { type: 'string', default: 'bench' },
      json: { type: 'boolean', default: false },
      sample: { type: 'boolean', default: false },
    },
  });
  const users = values.sample ? 20_000 : Number(values.rows);
  await buildProgram();
  const blueServer = await startServer({ major: 15 });
  const greenServer = await startServer({ major: 18 });
  let run: ChildProcess | undefined;
  try {
    const blue = await setUpDatabase(blueServer, { database: 'blue' });
    const green = await setUpDatabase(greenServer, { database: 'green' });
    await withClient(blue.urls.owner, createSourceTable);
    await loadUsers(blue.urls.superuser, {
      users,
      seed: 1,
      profile: values.profile === 'real' ? 'real' : 'bench',
    });
    await execute(blue.urls.superuser, 'VACUUM ANALYZE user_settings');
    const [row] = await rows<{ bytes: number }>(blue.urls.superuser, AVERAGE_ROW);
    const env = {
      PATH: process.env['PATH'] ?? '',
      ORCHESTRATE_MIGRATION: 'bench',
      ORCHESTRATE_BLUE_URL: blue.urls.sync,
      ORCHESTRATE_GREEN_URL: green.urls.sync,
      ORCHESTRATE_METRICS_LISTEN: '127.0.0.1:0',
    };
    const startedAt = performance.now();
    await ended(spawn(process.execPath, [PROGRAM, 'preflight', '--json'], { env, stdio: 'ignore' }));
    const preflight = (performance.now() - startedAt) / 1_000;
    run = spawn(process.execPath, [PROGRAM, 'run'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    const swept = await firstSweep(green.urls.superuser, run);
    const total = (performance.now() - startedAt) / 1_000;
    const peak = peakMib(run.pid);
    const steps = await rows<{ step: string; at: number }>(green.urls.superuser, STEPS);
    run.kill('SIGTERM');
    const figures = {
      machine: machine(),
      users,
      row_bytes: row?.bytes,
      preflight_seconds: round(preflight),
      total_seconds: round(total),
      steps: Object.fromEntries(steps.map(({ step, at }) => [step, round(at)])),
      sweep: swept,
      peak_rss_mib: Math.round(peak),
    };
    process.stdout.write(`${JSON.stringify(figures, null, values.json ? undefined : 2)}\n`);
    return 0;
  } finally {
    run?.kill('SIGKILL');
    await Promise.all([blueServer.remove(), greenServer.remove()]);
  }
}

const round = (seconds: number): number => Number(seconds.toFixed(2));

/** Waits until the runner has journaled its first sweep. */
async function firstSweep(green: string, run: ChildProcess): Promise<unknown> {
  for (;;) {
    if (run.exitCode !== null) throw new Error(`run ended with ${run.exitCode}`);
    const [entry] = await rows<{ detail: unknown }>(green, SWEPT).catch(() => []);
    if (entry) return entry.detail;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function ended(child: ChildProcess): Promise<void> {
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`preflight ended with ${String(code)}`);
}

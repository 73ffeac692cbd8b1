/**
 * The guide's direct migration, 056 and 057 inside one database, as the program ships: 23,000 users against the
 * guide's 45–90 s, and a million.
 */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { setUpDatabase } from '../../orchestrator/rehearsal/embedded/roles.ts';
import { startServer } from '../../orchestrator/rehearsal/embedded/server.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import { buildProgram, PROGRAM } from '../support/program.ts';
import { execute, withClient } from '../support/sql.ts';
import { machine } from './figures.ts';

const SETTINGS = { shared_buffers: '512MB', max_wal_size: '16GB', checkpoint_timeout: '1h' };
const GUIDE = '45–90 s';

interface Row {
  readonly users: number;
  readonly round: number;
  /** The whole command, start of the program included. */
  readonly seconds: number;
  readonly batches_seconds: number;
  readonly locked_seconds: number;
  /** What `plan --in-place` said before. */
  readonly planned_seconds: number;
}

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: 'string', default: '1000000' },
      rounds: { type: 'string', default: '3' },
      'batch-size': { type: 'string', default: '500' },
      json: { type: 'boolean', default: false },
      sample: { type: 'boolean', default: false },
    },
  });
  await buildProgram();
  const sizes: readonly [number, number, 'real' | 'bench'][] = values.sample
    ? [[2_000, 1, 'real']]
    : [
        [23_000, Number(values.rounds), 'real'],
        [Number(values.rows), 1, 'bench'],
      ];
  const server = await startServer({ major: 15, settings: SETTINGS });
  const rows: Row[] = [];
  try {
    for (const [users, rounds, profile] of sizes)
      for (let round = 1; round <= rounds; round++) {
        const blue = await setUpDatabase(server, { database: 'blue' });
        await withClient(blue.urls.owner, createSourceTable);
        await loadUsers(blue.urls.superuser, { users, seed: round, profile });
        await execute(blue.urls.superuser, 'VACUUM ANALYZE user_settings');
        await execute(server.superuserUrl, 'CHECKPOINT');
        const planned = await json<{ estimated_seconds: number }>(blue.urls.sync, ['plan', '--in-place']);
        const row = {
          users,
          round,
          planned_seconds: planned.estimated_seconds,
          ...(await up(blue.urls.sync, values['batch-size'])),
        };
        rows.push(row);
        if (!values.json)
          process.stdout.write(
            `${users} users  round ${round}  ${row.seconds.toFixed(2)} s  (planned ${row.planned_seconds.toFixed(2)}, batches ${row.batches_seconds.toFixed(2)}, writers locked out ${row.locked_seconds.toFixed(3)})${users === 23_000 ? `  the guide: ${GUIDE}` : ''}\n`,
          );
        await execute(server.superuserUrl, 'DROP DATABASE blue WITH (FORCE)');
      }
  } finally {
    await server.remove();
  }
  const first = rows.filter((r) => r.users === sizes[0]?.[0]).map((r) => r.seconds);
  const median = [...first].sort((a, b) => a - b)[Math.floor(first.length / 2)] ?? 0;
  const document = {
    machine: machine(),
    rounds: Number(values.rounds),
    rows,
    ratios: { in_place_seconds: Number(median.toFixed(3)) },
  };
  process.stdout.write(
    values.json ? `${JSON.stringify(document)}\n` : `${JSON.stringify(document.ratios)}\n`,
  );
  return 0;
}

async function up(url: string, batchSize: string): Promise<Omit<Row, 'users' | 'round' | 'planned_seconds'>> {
  const startedAt = performance.now();
  const { in_place: done } = await json<{ in_place: { busy_seconds: number; locked_seconds: number } }>(url, [
    'migrate',
    'up',
    '--side',
    'blue',
    '--batch-size',
    batchSize,
  ]);
  const seconds = (performance.now() - startedAt) / 1_000;
  return { seconds, batches_seconds: done.busy_seconds, locked_seconds: done.locked_seconds };
}

/** Runs the program. @returns its document. */
async function json<T>(url: string, args: readonly string[]): Promise<T> {
  const child = spawn(process.execPath, [PROGRAM, ...args, '--json'], {
    env: { PATH: process.env['PATH'] ?? '', ORCHESTRATE_BLUE_URL: url },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const code = await new Promise((resolve) => {
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${String(code)}`);
  return JSON.parse(output) as T;
}

/**
 * `copy` against what else moves a table: the text and the binary pipe of psql, and pgcopydb, on the same rows, in
 * turns: `npm run bench -- copy --rows 23000,1000000 --rounds 5 [--json]`. Sizes run one after the other, each with as many
 * rounds; at most `--most-rows` (10,000,000, about 5 GB on each side and as much WAL) are made. `--record` keeps the figures
 * for the README (`npm run docs`).
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { type RoleDatabase, setUpDatabase } from '../../orchestrator/rehearsal/embedded/roles.ts';
import { type EmbeddedServer, startServer } from '../../orchestrator/rehearsal/embedded/server.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { CREATE_USER_SETTINGS, createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import { namesOf } from '../../orchestrator/state/names.ts';
import { buildProgram, PROGRAM } from '../support/program.ts';
import { execute, withClient } from '../support/sql.ts';
import { requireTool } from '../support/tool.ts';
import { type CopyRow, RECORDED_COPY, ratiosOf, recordedCopy } from './copy-figures.ts';
import { machine } from './figures.ts';

/** Enough cache for the table, and no checkpoint in the middle of a round; the same on both sides and for all. */
const SETTINGS = {
  shared_buffers: '512MB',
  max_wal_size: '16GB',
  checkpoint_timeout: '1h',
  autovacuum: 'off',
};

interface Bench {
  readonly servers: { readonly blue: EmbeddedServer; readonly green: EmbeddedServer };
  readonly blue: RoleDatabase;
  readonly workers: number;
}

interface Seconds {
  readonly [what: string]: number;
}

/** One contender: runs once into a database of its own. */
type Contender = (bench: Bench, green: RoleDatabase, round: number) => Promise<Seconds>;

const BUILT = pathToFileURL(join(dirname(PROGRAM), '/')).href;

/** The program's own phases in a process of their own, as it ships: its memory and CPU are nobody else's. */
const OURS = `
  import { readFileSync } from 'node:fs';
  import { parseEndpoint } from '${BUILT}pg/endpoint.js';
  import { namesOf, relationsOf } from '${BUILT}state/names.js';
  import { ensureControl } from '${BUILT}phases/control.js';
  import { prepare } from '${BUILT}phases/prepare.js';
  import { copyPhase } from '${BUILT}phases/copy.js';
  import { buildPhase } from '${BUILT}phases/build.js';
  import { shareOf } from '${BUILT}phases/build-share.js';
  import { forecastCopy } from '${BUILT}copy/forecast.js';
  const schemas = { source: 'public', org: 'public' };
  const nothing = () => {};
  const ctx = {
    names: namesOf('bench'), schemas, relations: relationsOf(schemas),
    endpoints: { blue: parseEndpoint('blue', process.env.BLUE), green: parseEndpoint('green', process.env.GREEN) },
    log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
    metrics: { set: nothing, add: nothing, observe: nothing },
    claim: () => ({ migration: 'bench', epoch: 0n, generation: 0n }),
    signal: new AbortController().signal,
    journal: async () => {},
  };
  const workers = Number(process.env.WORKERS);
  // What \`plan\` would have said just before.
  const forecast = process.env.FORECAST === '1' ? await forecastCopy(ctx, { workers }) : null;
  const before = process.cpuUsage();
  const at = [performance.now()];
  await ensureControl(ctx);
  const { slot } = await prepare(ctx);
  at.push(performance.now());
  await copyPhase(ctx, slot, { workers });
  at.push(performance.now());
  await slot.release();
  await buildPhase(ctx, async () => {}, shareOf(workers));
  at.push(performance.now());
  const { user, system } = process.cpuUsage(before);
  const between = (from, to) => (at[to] - at[from]) / 1000;
  process.stdout.write(JSON.stringify({
    prepare: between(0, 1), data: between(1, 2), build: between(2, 3), total: between(1, 3), all: between(0, 3),
    ...(forecast === null ? {} : { predicted: forecast.seconds }),
    cpu: (user + system) / 1e6,
    rss_mib: Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024,
  }));`;

async function ours(bench: Bench, green: RoleDatabase, round: number): Promise<Seconds> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', OURS], {
    env: {
      PATH: process.env['PATH'] ?? '',
      BLUE: bench.blue.urls.sync,
      GREEN: green.urls.sync,
      WORKERS: String(bench.workers),
      FORECAST: round === 1 ? '1' : '0',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const code = await new Promise((resolve) => {
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`the program ended with ${String(code)}`);
  const names = namesOf('bench');
  await execute(bench.blue.urls.superuser, `SELECT pg_drop_replication_slot('${names.slot.blue}')`);
  await execute(
    bench.blue.urls.superuser,
    `DROP PUBLICATION "${names.publication.blue}";
     DROP SCHEMA orchestrator CASCADE;
     DROP FUNCTION public.orchestrate_fence() CASCADE`,
  );
  return JSON.parse(output) as Seconds;
}

const pipe =
  (format: 'text' | 'binary'): Contender =>
  async (bench, green) => {
    await execute(green.urls.owner, CREATE_USER_SETTINGS.replace(/PRIMARY KEY|CREATE INDEX[\s\S]*$/g, ''));
    const from = psql(bench.blue.urls.superuser, `COPY user_settings TO STDOUT (FORMAT ${format})`);
    const into = psql(green.urls.superuser, `COPY user_settings FROM STDIN (FORMAT ${format})`);
    return { data: await shell(`${from} | ${into}`) };
  };

const pgcopydb: Contender = async (bench, green) => {
  const directory = mkdtempSync(join(os.tmpdir(), 'orchestrate-bench-'));
  try {
    const total = await shell(
      `pgcopydb clone --dir ${join(directory, 'work')} --source '${bench.blue.urls.superuser}' \
         --target '${green.urls.superuser}' --table-jobs 2 --index-jobs 2 --no-owner --no-acl \
         --no-role-passwords --skip-extensions >${join(directory, 'log')} 2>&1 \
       || { tail -5 ${join(directory, 'log')} >&2; exit 1; }`,
    );
    const counted = await withClient(green.urls.superuser, (client) =>
      client.query<{ n: string }>('SELECT count(*) AS n FROM user_settings'),
    );
    if (counted.rows[0]?.n === '0') throw new Error('pgcopydb copied nothing');
    return { total };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
};

/** psql with its URL in the environment of the shell would be one for both ends of a pipe: so in argv, on loopback. */
function psql(url: string, sql: string): string {
  return `psql -X -q -v ON_ERROR_STOP=1 '${url}' -c '${sql}'`;
}

/** Runs a shell command. @returns its seconds. */
async function shell(command: string): Promise<number> {
  const startedAt = performance.now();
  const child = spawn('bash', ['-o', 'pipefail', '-c', command], { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise((resolve) => {
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`a contender ended with ${String(code)}`);
  return (performance.now() - startedAt) / 1_000;
}

/** CPU seconds of a server and of all its sessions that have ended. */
function serverCpu(server: EmbeddedServer): number {
  const stat = readFileSync(`/proc/${server.pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: 'string', default: '23000,1000000' },
      'most-rows': { type: 'string', default: '10000000' },
      rounds: { type: 'string', default: '5' },
      workers: { type: 'string', default: '2' },
      only: { type: 'string' },
      profile: { type: 'string', default: 'bench' },
      json: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
      // That everything still runs, in seconds; the figures say nothing.
      sample: { type: 'boolean', default: false },
    },
  });
  const clone = requireTool('pgcopydb', 'apt-get install pgcopydb postgresql-client');
  const contenders: Record<string, Contender> = {
    orchestrate: ours,
    'text pipe': pipe('text'),
    'binary pipe': pipe('binary'),
    ...(clone.found ? { pgcopydb } : {}),
  };
  const chosen = Object.entries(contenders).filter(
    ([name]) => values.only?.split(',').includes(name) ?? true,
  );
  const sizes = values.sample ? [20_000] : values.rows.split(',').map(Number);
  const most = Number(values['most-rows']);
  if (sizes.some((n) => !(n > 0 && n <= most))) throw new RangeError(`--rows: numbers from 1 to ${most}`);
  const rounds = values.sample ? 1 : Number(values.rounds);
  await buildProgram();
  const rows: CopyRow[] = [];
  for (const users of sizes) {
    const bench = await prepareBench(
      users,
      values.profile === 'real' ? 'real' : 'bench',
      Number(values.workers),
    );
    try {
      for (let round = 1; round <= rounds; round++)
        for (const [contender, run] of chosen) {
          rows.push({ users, contender, round, ...(await measure(bench, run, round)) });
          if (!values.json) process.stdout.write(`${line(rows.at(-1) as CopyRow)}\n`);
        }
    } finally {
      await Promise.all([bench.servers.blue.remove(), bench.servers.green.remove()]);
    }
  }
  print(values.json, sizes, rounds, rows);
  if (values.record) record(rows);
  return 0;
}

/** Two fresh servers and a source table of so many rows. */
async function prepareBench(users: number, profile: 'bench' | 'real', workers: number): Promise<Bench> {
  const [blueServer, greenServer] = [
    await startServer({ major: 15, settings: SETTINGS }),
    await startServer({ major: 18, settings: SETTINGS }),
  ];
  try {
    const blue = await setUpDatabase(blueServer, { database: 'blue' });
    await withClient(blue.urls.owner, createSourceTable);
    await loadUsers(blue.urls.superuser, { users, seed: 1, profile });
    await execute(blue.urls.superuser, 'VACUUM ANALYZE user_settings');
    return { servers: { blue: blueServer, green: greenServer }, blue, workers };
  } catch (error) {
    await Promise.all([blueServer.remove(), greenServer.remove()]);
    throw error;
  }
}

/** One contender, once, into a database of its own that is gone afterwards. */
async function measure(
  bench: Bench,
  run: Contender,
  round: number,
): Promise<Pick<CopyRow, 'seconds' | 'blueCpu' | 'greenCpu'>> {
  const { blue, green } = bench.servers;
  const target = await setUpDatabase(green, { database: 'green' });
  for (const server of [blue, green]) await execute(server.superuserUrl, 'CHECKPOINT');
  const before = [serverCpu(blue), serverCpu(green)] as const;
  const seconds = await run(bench, target, round);
  const used = { blueCpu: serverCpu(blue) - before[0], greenCpu: serverCpu(green) - before[1] };
  await execute(green.superuserUrl, 'DROP DATABASE green WITH (FORCE)');
  return { seconds, ...used };
}

const line = (row: CopyRow): string =>
  [
    row.contender.padEnd(12),
    `${row.users} rows`,
    `round ${row.round}`,
    ...Object.entries(row.seconds).map(([what, s]) => `${what} ${s.toFixed(2)}`),
    `blue cpu ${row.blueCpu.toFixed(1)}`,
    `green cpu ${row.greenCpu.toFixed(1)}`,
  ].join('  ');

function print(json: boolean, sizes: readonly number[], rounds: number, rows: readonly CopyRow[]): void {
  const bySize = Object.fromEntries(sizes.map((users) => [String(users), ratiosOf(rows, users)]));
  // The names that the ratios are known by are those of the largest table.
  const largest = ratiosOf(rows, Math.max(...sizes));
  const ratios = {
    total_vs_pgcopydb: largest.total_vs_pgcopydb,
    data_vs_text_pipe: largest.data_vs_text_pipe,
    data_vs_binary_pipe: largest.data_vs_binary_pipe,
    peak_rss_mib: largest.peak_rss_mib,
  };
  process.stdout.write(
    json
      ? `${JSON.stringify({ machine: machine(), rounds, sizes, rows, by_size: bySize, ratios })}\n`
      : `${JSON.stringify({ by_size: bySize, ratios }, null, 2)}\n`,
  );
}

/** Keeps the rows, and where they were measured, for the README; other sizes stay if they are of the same machine. */
function record(rows: readonly CopyRow[]): void {
  const { load: _, ...where } = machine();
  const before = recordedCopy();
  const others =
    JSON.stringify(before?.machine) === JSON.stringify(where)
      ? (before?.rows ?? []).filter((old) => !rows.some((r) => r.users === old.users))
      : [];
  const all = [...others, ...rows].sort((a, b) => a.users - b.users || a.round - b.round);
  writeFileSync(RECORDED_COPY, `${JSON.stringify({ machine: where, rows: all }, null, 2)}\n`);
}

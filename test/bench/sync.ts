/**
 * `sync` against PostgreSQL's own: how fast each catches up with the same WAL, in turns; then commit-to-visible
 * latency, and the memory of transactions of a million rows. Run: `npm run bench -- sync [--rows N] [--transactions N]
 * [--rounds N] [--json]`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { buildPhase } from '../../orchestrator/phases/build.ts';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { copyPhase } from '../../orchestrator/phases/copy.ts';
import { prepare } from '../../orchestrator/phases/prepare.ts';
import {
  createDatabase,
  createRoles,
  type RoleDatabase,
  setUpDatabase,
} from '../../orchestrator/rehearsal/embedded/roles.ts';
import { type EmbeddedServer, startServer } from '../../orchestrator/rehearsal/embedded/server.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import { buildProgram } from '../support/program.ts';
import { runContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { STREAM_PROGRAM } from '../support/stream-process.ts';
import { until } from '../support/until.ts';
import { FAN_OUT, ORG_TABLES } from './fan-out.ts';
import { machine, median, peakMib } from './figures.ts';
import { LARGE, type Large } from './large.ts';
import { type Latency, latencyAt } from './latency.ts';

/** Enough cache for the table, and no checkpoint in the middle of a round; the same on both sides and for all. */
const SETTINGS = {
  shared_buffers: '512MB',
  max_wal_size: '16GB',
  checkpoint_timeout: '1h',
  autovacuum: 'off',
};

const SHAPES = {
  /** What the goal speaks of. */
  single: { rowsEach: 1, share: 1 },
  hundred: { rowsEach: 100, share: 1 / 100 },
  one: { rowsEach: Number.POSITIVE_INFINITY, share: 0 },
} as const;
type Shape = keyof typeof SHAPES;

const CONTENDERS = ['orchestrate', 'subscription', 'subscription and trigger'] as const;
type Contender = (typeof CONTENDERS)[number];

interface Rate {
  readonly shape: Shape;
  readonly round: number;
  readonly contender: Contender;
  readonly seconds: number;
  /** Changed rows a second. */
  readonly rate: number;
}

interface Bench {
  readonly users: number;
  readonly blue: RoleDatabase;
  readonly green: Readonly<Record<Contender, RoleDatabase>>;
  readonly migration: string;
  /** Highest resident memory of the program so far, in MiB. */
  peakMib: number;
}

/** One transaction a turn; the ids go round. */
const WRITER = `
  CREATE PROCEDURE bench_write(turns integer, each integer, users integer, salt text) LANGUAGE plpgsql AS $$
  BEGIN
    FOR i IN 1..turns LOOP
      UPDATE user_settings
      SET language = salt || i, user_version = i % 5
      WHERE id BETWEEN 2 + (i * 7919) % greatest(users - each, 1) AND 1 + each + (i * 7919) % greatest(users - each, 1);
      COMMIT;
    END LOOP;
  END $$`;

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: 'string', default: '100000' },
      transactions: { type: 'string', default: '300000' },
      rounds: { type: 'string', default: '3' },
      /** Rows of the large transactions. */
      large: { type: 'string', default: '1000000' },
      /** Parts: `single`, `hundred`, `one`, `latency`, `large`. */
      only: { type: 'string', default: 'single,hundred,one,latency,large' },
      json: { type: 'boolean', default: false },
      // That everything still runs, in seconds; the figures say nothing.
      sample: { type: 'boolean', default: false },
    },
  });
  const parts = new Set(values.only.split(','));
  const users = values.sample ? 2_000 : Number(values.rows);
  const transactions = values.sample ? 2_000 : Number(values.transactions);
  const rounds = values.sample ? 1 : Number(values.rounds);
  const say = (text: string): void => {
    if (!values.json) process.stdout.write(`${text}\n`);
  };
  await buildProgram();
  const servers = [
    await startServer({ major: 15, settings: SETTINGS }),
    await startServer({ major: 18, settings: SETTINGS }),
  ] as const;
  try {
    const bench = await setUp(servers, users);
    const rates: Rate[] = [];
    for (let round = 1; round <= rounds; round++)
      for (const shape of Object.keys(SHAPES) as Shape[]) {
        if (!parts.has(shape)) continue;
        for (const rate of await race(bench, shape, round, transactions)) {
          rates.push(rate);
          say(
            `${rate.contender.padEnd(26)} ${shape.padEnd(8)} round ${round}  ${rate.rate.toFixed(0)} rows/s`,
          );
        }
      }
    const latencies: Latency[] = [];
    if (parts.has('latency'))
      for (const perSecond of values.sample ? [50] : [100, 1_000, 5_000])
        latencies.push(
          await running(bench, () =>
            latencyAt({
              blue: bench.blue.urls.app,
              green: bench.green.orchestrate.urls.superuser,
              perSecond,
              seconds: values.sample ? 2 : 15,
            }),
          ),
        );
    for (const l of latencies) say(JSON.stringify(l));
    const larges: Large[] = [];
    if (parts.has('large'))
      for await (const one of large(bench, values.sample ? 10_000 : Number(values.large))) {
        larges.push(one);
        say(JSON.stringify(one));
      }
    const result = {
      machine: machine(),
      rounds,
      users,
      transactions,
      rows: [...rates, ...latencies, ...larges],
      ratios: ratiosOf(rates, latencies, bench.peakMib),
    };
    process.stdout.write(
      `${values.json ? JSON.stringify(result) : JSON.stringify(result.ratios, null, 2)}\n`,
    );
    return 0;
  } finally {
    await Promise.all(servers.map((server) => server.remove()));
  }
}

/** Three databases on one server that all hold what blue holds, each with a slot that nobody reads yet. */
async function setUp(servers: readonly [EmbeddedServer, EmbeddedServer], users: number): Promise<Bench> {
  const [blueServer, greenServer] = servers;
  const blue = await setUpDatabase(blueServer, { database: 'blue' });
  const logins = await createRoles(greenServer);
  const ours = await createDatabase(greenServer, 'ours', logins);
  const plain = await createDatabase(greenServer, 'plain', logins);
  const fanned = await createDatabase(greenServer, 'fanned', logins);
  await withClient(blue.urls.owner, createSourceTable);
  await loadUsers(blue.urls.superuser, { users, seed: 1, profile: 'bench' });
  await execute(blue.urls.superuser, WRITER);
  await execute(blue.urls.superuser, 'CREATE PUBLICATION native FOR TABLE user_settings');
  for (const [db, name] of [
    [plain, 'plain'],
    [fanned, 'fanned'],
  ] as const) {
    await withClient(db.urls.superuser, createSourceTable);
    if (name === 'fanned') await execute(db.urls.superuser, ORG_TABLES);
    await execute(
      db.urls.superuser,
      `CREATE SUBSCRIPTION ${name} CONNECTION '${blue.urls.superuser}' PUBLICATION native`,
    );
    await until(
      `${name} to hold the rows`,
      async () =>
        (await rows(db.urls.superuser, `SELECT FROM pg_subscription_rel WHERE srsubstate = 'r'`)).length > 0,
      120_000,
    );
    await execute(db.urls.superuser, `ALTER SUBSCRIPTION ${name} DISABLE`);
    if (name === 'fanned') await execute(db.urls.superuser, FAN_OUT);
  }
  const migration = 'bench';
  const ctx = runContext({ blue, green: ours }, migration);
  await ensureControl(ctx);
  const { slot } = await prepare(ctx);
  await copyPhase(ctx, slot, { workers: 2 });
  await slot.release();
  await buildPhase(ctx, async () => {});
  await execute(plain.urls.superuser, 'VACUUM ANALYZE');
  await execute(fanned.urls.superuser, 'VACUUM ANALYZE');
  await execute(ours.urls.superuser, 'VACUUM ANALYZE');
  return {
    users,
    blue,
    green: { orchestrate: ours, subscription: plain, 'subscription and trigger': fanned },
    migration,
    peakMib: 0,
  };
}

/** Writes once, then lets every contender catch up with it, alone; who begins changes with the round. */
async function race(bench: Bench, shape: Shape, round: number, transactions: number): Promise<Rate[]> {
  const { share, rowsEach } = SHAPES[shape];
  const turns = Math.max(1, Math.round(transactions * share));
  const each = Math.min(rowsEach, bench.users - 1);
  const mark = `${shape} ${round}`;
  await withClient(bench.blue.urls.superuser, async (client) => {
    await client.query('SET synchronous_commit = off');
    await client.query(`CALL bench_write(${turns}, ${each}, ${bench.users}, '${shape[0]}${round}')`);
    await client.query('SET synchronous_commit = on');
    await client.query('UPDATE user_settings SET agent = $1 WHERE id = 1', [mark]);
  });
  const rates: Rate[] = [];
  for (let n = 0; n < CONTENDERS.length; n++) {
    const contender = CONTENDERS[(n + round) % CONTENDERS.length] as Contender;
    const seconds = await catchUp(bench, contender, mark);
    rates.push({ shape, round, contender, seconds, rate: (turns * each) / seconds });
  }
  return rates;
}

async function catchUp(bench: Bench, contender: Contender, mark: string): Promise<number> {
  const { superuser } = bench.green[contender].urls;
  await execute(superuser, 'CHECKPOINT');
  if (contender === 'orchestrate')
    return running(bench, async (startedAt) => {
      await seen(superuser, 'settings', mark);
      return (performance.now() - startedAt) / 1_000;
    });
  const name = contender === 'subscription' ? 'plain' : 'fanned';
  const startedAt = performance.now();
  await execute(superuser, `ALTER SUBSCRIPTION ${name} ENABLE`);
  await seen(superuser, contender === 'subscription' ? 'user_settings' : 'settings', mark);
  const seconds = (performance.now() - startedAt) / 1_000;
  await execute(superuser, `ALTER SUBSCRIPTION ${name} DISABLE`);
  await until(
    'its slot to be free',
    async () =>
      (
        await rows(
          bench.blue.urls.superuser,
          'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active',
          [name],
        )
      ).length === 0,
  );
  return seconds;
}

async function seen(url: string, table: string, mark: string): Promise<void> {
  await withClient(url, async (client) => {
    await until(
      `${mark} to arrive`,
      async () =>
        (await client.query<{ agent: string }>(`SELECT agent FROM ${table} WHERE id = 1`)).rows[0]?.agent ===
        mark,
      300_000,
    );
  });
}

/** Runs `work` while the program streams, in a process of its own. `startedAt`: when it began to connect. */
async function running<T>(bench: Bench, work: (startedAt: number) => Promise<T>): Promise<T> {
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', STREAM_PROGRAM], {
    env: {
      PATH: process.env['PATH'] ?? '',
      BLUE: bench.blue.urls.sync,
      GREEN: bench.green.orchestrate.urls.sync,
      MIGRATION: bench.migration,
      OPTIONS: '{}',
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let ended = false;
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => {
      ended = true;
      resolve();
    });
  });
  let said = '';
  const startedAt = await new Promise<number>((resolve) => {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      resolve(performance.now());
    });
  });
  const watch = setInterval(() => {
    bench.peakMib = Math.max(bench.peakMib, peakMib(child.pid));
  }, 250);
  try {
    return await Promise.race([
      work(startedAt),
      closed.then(() => {
        throw new Error(`the program ended: ${said}`);
      }),
    ]);
  } finally {
    clearInterval(watch);
    if (!ended) child.stdin?.end();
    await closed;
    await until(
      'the slot to be free',
      async () =>
        (
          await rows(
            bench.blue.urls.superuser,
            `SELECT FROM pg_replication_slots WHERE active AND slot_name NOT IN ('plain', 'fanned')`,
          )
        ).length === 0,
    );
  }
}

/** Large transactions one by one, each met by a new process of the program. */
async function* large(bench: Bench, size: number): AsyncGenerator<Large> {
  for (const [transaction, of] of Object.entries(LARGE)) {
    const { sql, rows: count } = of(size);
    const mark = transaction.slice(0, 20);
    await execute(
      bench.blue.urls.superuser,
      `BEGIN;
       ${sql};
       UPDATE user_settings SET agent = '${mark}' WHERE id = 1;
       COMMIT`,
    );
    const before = bench.peakMib;
    bench.peakMib = 0;
    const seconds = await running(bench, async (startedAt) => {
      await seen(bench.green.orchestrate.urls.superuser, 'settings', mark);
      return (performance.now() - startedAt) / 1_000;
    });
    yield { transaction, rows: count, seconds, peakMib: Math.round(bench.peakMib) };
    bench.peakMib = Math.max(before, bench.peakMib);
  }
}

function ratiosOf(
  rates: readonly Rate[],
  latencies: readonly Latency[],
  peakMib: number,
): Record<string, number | undefined> {
  const rate = (shape: Shape, contender: Contender): number | undefined => {
    const found = rates.filter((r) => r.shape === shape && r.contender === contender).map((r) => r.rate);
    return found.length === 0 ? undefined : median(found);
  };
  const ratio = (shape: Shape, against: Contender): number | undefined => {
    const [a, b] = [rate(shape, 'orchestrate'), rate(shape, against)];
    return a === undefined || b === undefined ? undefined : Number((a / b).toFixed(2));
  };
  const thousand = latencies.find((l) => l.wanted === 1_000);
  return {
    sync_vs_native: ratio('single', 'subscription'),
    sync_vs_native_trigger: ratio('single', 'subscription and trigger'),
    hundred_vs_native: ratio('hundred', 'subscription'),
    one_vs_native: ratio('one', 'subscription'),
    latency_p50_ms: thousand?.p50Ms,
    latency_p99_ms: thousand?.p99Ms,
    peak_rss_mib: Math.round(peakMib),
  };
}

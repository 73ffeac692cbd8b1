/**
 * The forward stream under a random workload and random faults, seed by seed: `npm run test:faults -- --seed N`
 * repeats one, `--runs N` makes N of them. A run is at least 500 acknowledged transactions of eight connections while
 * the program is killed, both servers crash, and sessions and sockets are cut; then everything comes to rest, and green
 * has to hold exactly what blue holds, and everything that was acknowledged.
 */
import { afterAll, expect, test } from 'vitest';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { copied } from '../support/green-serving.ts';
import { proxyTo, type TcpProxy } from '../support/proxy.ts';
import { oneOf, seeded } from '../support/seeded.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { wrongsOf } from '../support/stream-oracle.ts';
import { StreamProcess } from '../support/stream-process.ts';
import { until } from '../support/until.ts';
import { BASE, FIRST_WITNESS } from './random/operations.ts';
import { type Hits, strike } from './random/strikes.ts';
import { type Run, record, runOf, runsIn, tableOf } from './random/tally.ts';
import { ENOUGH, Writers } from './random/writers.ts';

const FIRST_SEED = Number(process.env['ORCHESTRATE_FAULT_SEED'] ?? 1);
const RUNS = Number(process.env['ORCHESTRATE_FAULT_RUNS'] ?? 3);
/** A file to which every run is added; the table that is printed in the end then sums up all that it holds. */
const RECORD = process.env['ORCHESTRATE_FAULT_RECORD'];

interface World {
  readonly pair: OwnPair;
  readonly migration: string;
  readonly proxies: { readonly blue: TcpProxy; readonly green: TcpProxy };
}

/** Servers and the copied base are made once; a run that fails leaves a world that nobody trusts. */
let world: World | undefined;
const runs: Run[] = [];

async function newWorld(): Promise<World> {
  const pair = await ownPair({
    blue: { deadlock_timeout: '100ms', max_prepared_transactions: '40' },
  });
  await execute(
    pair.blue.urls.superuser,
    `CREATE TABLE witness_gone (id integer PRIMARY KEY); GRANT ALL ON witness_gone TO PUBLIC`,
  );
  await execute(pair.blue.urls.app, BASE);
  const { names } = await copied(pair);
  const proxies = { blue: await proxyTo(pair.blue.urls.sync), green: await proxyTo(pair.green.urls.sync) };
  return { pair, migration: names.migration, proxies };
}

async function endWorld(): Promise<void> {
  const ended = world;
  world = undefined;
  await Promise.all([ended?.proxies.blue.close(), ended?.proxies.green.close()]);
  await ended?.pair.drop();
}

afterAll(async () => {
  await endWorld();
  process.stdout.write(`\n${tableOf(RECORD === undefined ? runs : runsIn(RECORD))}`);
});

const IDENTITIES = ['DEFAULT', 'FULL', 'USING INDEX user_settings_pkey'];

test.each(Array.from({ length: RUNS }, (_, i) => FIRST_SEED + i))(
  'seed %i: nothing is lost, nothing differs',
  { timeout: 600_000 },
  async (seed) => {
    const next = seeded(seed);
    const hits: Hits = new Map();
    world ??= await newWorld();
    const { pair, migration, proxies } = world;
    await execute(
      pair.blue.urls.owner,
      `BEGIN; TRUNCATE user_settings; ALTER TABLE user_settings REPLICA IDENTITY ${oneOf(next, IDENTITIES)}; COMMIT`,
    );
    await execute(pair.blue.urls.superuser, 'TRUNCATE witness_gone');
    await execute(pair.blue.urls.app, BASE);
    const program = new StreamProcess({
      urls: {
        blue: proxies.blue.url(pair.blue.urls.sync),
        green: proxies.green.url(pair.green.urls.sync),
      },
      migration,
      applier: {
        maxChanges: oneOf(next, [50, 1_000, 1_000]),
        maxQueueBytes: oneOf(next, [16 * 1024, 2 * 1024 * 1024]),
      },
    });
    let clean = false;
    const writers = new Writers(pair.blue.urls.app, seed);
    try {
      await strike({ pair, program, proxies }, writers, next, hits);
      await until(
        `${ENOUGH} writes`,
        () => writers.acknowledged >= ENOUGH || program.fatal !== undefined,
        180_000,
      );
      await writers.stop();
      await settlePrepared(pair);
      await rested(pair, program);
      const wrongs = await wrongsOf(pair);
      expect(wrongs, `seed ${seed}`).toEqual([]);
      expect(await broken(pair, writers), `seed ${seed}`).toEqual([]);
      clean = true;
    } finally {
      await writers.stop();
      await program.stop();
      const run = runOf(seed, clean, writers.acknowledged, hits);
      runs.push(run);
      if (RECORD !== undefined) record(RECORD, run);
      if (!clean) await endWorld();
    }
  },
);

/** Connections that were lost between PREPARE and COMMIT leave transactions behind. */
async function settlePrepared(pair: OwnPair): Promise<void> {
  await withClient(pair.blue.urls.app, async (client) => {
    const { rows: left } = await client.query<{ sql: string }>(
      `SELECT format('COMMIT PREPARED %L', gid) AS sql FROM pg_prepared_xacts WHERE database = current_database()`,
    );
    for (const { sql } of left) await client.query(sql);
  });
}

/** Transactions are applied in commit order: once the last one is there, so is everything before it. */
async function rested(pair: OwnPair, program: StreamProcess): Promise<void> {
  const last = FIRST_WITNESS - 1;
  await execute(
    pair.blue.urls.app,
    `INSERT INTO user_settings (id, language) VALUES (${last}, 'last') ON CONFLICT DO NOTHING`,
  );
  await until(
    'green to hold the last row',
    async () => {
      if (program.fatal !== undefined) return true;
      return (
        (await rows(pair.green.urls.superuser, 'SELECT FROM orchestrator.parked WHERE id = $1', [last]))
          .length > 0
      );
    },
    180_000,
  );
  if (program.fatal !== undefined) throw new Error(`the stream has stopped: ${program.fatal}`);
}

const WITNESSES_ON_GREEN = `
  SELECT id, language FROM settings WHERE id >= $1
  UNION ALL
  SELECT id, language FROM orchestrator.parked WHERE id >= $1`;

/** The ledger: promises that green does not keep. */
async function broken(pair: OwnPair, writers: Writers): Promise<string[]> {
  const found = new Map(
    (
      await rows<{ id: number; language: string | null }>(pair.green.urls.superuser, WITNESSES_ON_GREEN, [
        FIRST_WITNESS,
      ])
    ).map((r) => [r.id, r.language]),
  );
  const gone = new Set(
    (await rows<{ id: number }>(pair.blue.urls.superuser, 'SELECT id FROM witness_gone')).map((r) => r.id),
  );
  const wrongs: string[] = [];
  for (const { witness, token, outcome } of writers.tried) {
    const there = found.get(witness);
    if (there !== undefined && (outcome === 'refused' || gone.has(witness)))
      wrongs.push(`${witness} was undone and is there`);
    else if (there === undefined && outcome === 'acknowledged' && !gone.has(witness))
      wrongs.push(`${witness} was acknowledged and is lost`);
    else if (there !== undefined && there !== token) wrongs.push(`${witness} is not what was written`);
  }
  return wrongs;
}

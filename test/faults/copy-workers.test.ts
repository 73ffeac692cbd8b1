/** `orchestrate worker` beside `orchestrate run`: chunks are shared, and a worker's death costs nothing. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compareSides } from '../../orchestrator/rehearsal/comparison.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { chunksOf, keysOf } from '../support/copy-trial.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let j: Journey;
const running: Running[] = [];

beforeEach(async () => {
  pair = await freshPair();
  j = journey(pair);
});
afterEach(async () => {
  for (const one of running) one.kill('SIGKILL');
  await Promise.all(running.splice(0).map((one) => one.ended));
  await pair.drop();
});

/** Sixteen chunks of about 1.2 MB, slow enough that everybody gets a turn. */
const USERS = 40_000;
const fill = async (): Promise<void> => {
  await loadUsers(pair.blue.urls.owner, { users: USERS, seed: 'workers', profile: 'bench' });
};
const run = (rate = '4MiB'): Running => start('run', {}, '--copy-workers', '4', '--max-copy-rate', rate);
const worker = (environment: Record<string, string> = {}, rate = '4MiB'): Running =>
  start('worker', environment, '--copy-workers', '1', '--max-copy-rate', rate, '--json');

function start(command: string, environment: Record<string, string>, ...flags: string[]): Running {
  const started = j.start([command, ...flags], environment);
  running.push(started);
  return started;
}

const pidOf = (one: Running): string => `:${one.process.pid}:`;
const doneBy = async (one: Running): Promise<number> =>
  (await chunksOf(pair)).filter((c) => c.status === 'done' && c.worker?.includes(pidOf(one))).length;

/** What the journal says of each chunk, by its range. */
const journaled = () =>
  rows<{ lower: string; worker: string; rows: string }>(
    pair.green.urls.superuser,
    `SELECT detail ->> 'lower' AS lower, detail ->> 'worker' AS worker, detail ->> 'rows' AS rows
     FROM orchestrator.journal WHERE event = 'chunk' ORDER BY (detail ->> 'lower')::bigint`,
  );

/** The chunks of the table are each in the journal once, with whoever the chunk itself names. */
async function sharedExactly(among: readonly Running[]): Promise<void> {
  const chunks = await chunksOf(pair);
  expect(await journaled()).toEqual(chunks.map((c) => ({ lower: c.lower, worker: c.worker, rows: c.rows })));
  for (const one of among) expect(await doneBy(one)).toBeGreaterThan(0);
  const compared = await compareSides({
    databases: { blue: pair.blue.urls.superuser, green: pair.green.urls.superuser },
    serving: 'blue',
    greenWritten: false,
  });
  expect(compared.differences).toEqual([]);
  expect(compared.mapped + compared.parked).toBe(compared.blueRows);
  expect((await keysOf(pair)).every((k) => k.valid)).toBe(true);
}

const inSync = async (): Promise<unknown> =>
  until('the copy and the build to be over', async () => (await j.status()).phase === 'syncing', 60_000);

describe('two workers beside run', () => {
  it('share its chunks, end by themselves with 0, and the one that is killed has its chunk taken again', async () => {
    await fill();
    // They are there first and wait.
    const lasting = worker();
    // All rows of its second chunk are on green, the commit is not: the latest moment to die.
    const killed = worker({ ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: 'chunk.before:crash:2' });
    const runner = run();
    await killed.ended;
    expect([killed.process.signalCode, killed.stderr()]).toEqual([
      'SIGKILL',
      expect.stringContaining('failpoint chunk.before 2'),
    ]);
    const ended = await lasting.ended;
    expect([ended.exit, ended.json()]).toEqual([
      0,
      expect.objectContaining({ outcome: 'done', chunks: await doneBy(lasting) }),
    ]);
    await inSync();
    expect((await chunksOf(pair)).every((c) => c.status === 'done')).toBe(true);
    expect(await doneBy(killed)).toBe(1);
    await sharedExactly([runner, lasting, killed]);
    const left = worker();
    expect((await left.ended).json()).toMatchObject({ outcome: 'done', chunks: 0 });
  });

  it('wait while nobody leads, and follow the next runner under its snapshot', async () => {
    await fill();
    const helper = worker();
    const first = run();
    await until('the helper to have copied a chunk', async () => (await doneBy(helper)) > 0);
    first.kill('SIGKILL');
    await first.ended;
    const second = run();
    expect((await helper.ended).exit).toBe(0);
    await inSync();
    await sharedExactly([helper]);
    expect(second.process.exitCode).toBeNull();
  });

  it('pause with the runner', async () => {
    await fill();
    const helper = worker({}, '1500KiB');
    run('1MiB');
    await until('the helper to have copied a chunk', async () => (await doneBy(helper)) > 0);
    expect((await j.command('pause')).exit).toBe(0);
    const settled = async (): Promise<string> => JSON.stringify(await chunksOf(pair));
    // What was in flight ends; then, for longer than any chunk takes, nothing moves.
    let last = await settled();
    let since = performance.now();
    await until('the copy to stand still', async () => {
      const now = await settled();
      if (now !== last) [last, since] = [now, performance.now()];
      return performance.now() - since > 3_000;
    });
    expect((await chunksOf(pair)).some((c) => c.status === 'pending')).toBe(true);
    expect((await j.command('resume')).exit).toBe(0);
    expect((await helper.ended).exit).toBe(0);
    await inSync();
    await sharedExactly([helper]);
  });
});

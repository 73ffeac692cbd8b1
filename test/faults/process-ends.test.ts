/** SIGTERM at any moment, on the real program: it ends with 143 at a point from which `run` alone goes on. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument, VerifyDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Ended, type Journey, journey, type Running } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const ASK = ['--yes', '--json', '--accept-parked', 'all'];
const WRITE = {
  blue: `UPDATE user_settings SET language = 'xx' WHERE id = 1`,
  green: `UPDATE settings SET language = 'xx' WHERE id = 1`,
};

let scratch = '';
let pair: Pair;
let j: Journey;
const started: Running[] = [];

beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'process-ends-'));
  pair = await freshPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 400, seed: 'ends' }));
  j = journey(pair);
});

afterEach(async () => {
  for (const one of started) one.kill('SIGKILL');
  await Promise.all(started.splice(0).map((one) => one.ended));
  await pair.drop();
  rmSync(scratch, { recursive: true, force: true });
});

const armed = () => join(scratch, 'armed');
/** Arms a failpoint, or ends the hang of the one before. */
const arm = (points: string) => writeFileSync(armed(), points);

/** A runner that can be armed while it runs. */
function run(points = ''): Running {
  arm(points);
  const running = j.run({ ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: `@${armed()}` });
  started.push(running);
  return running;
}

const at = (running: Running, point: string) =>
  until(`failpoint ${point}`, () => running.stderr().includes(`failpoint ${point} `), 60_000);

/** How often its main thread has gone to sleep. */
const turns = ({ process: { pid } }: Running): number =>
  Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** Asks to end at a failpoint, and only then lets the runner go on from it. */
async function endAt(running: Running, point: string): Promise<Ended> {
  await at(running, point);
  const before = turns(running);
  running.kill('SIGTERM');
  // While it hangs it wakes every 20 ms: when it has slept a few times more, the signal has been taken up.
  await until('the signal to be taken up', () => turns(running) >= before + 5);
  arm('');
  return running.ended;
}

async function takesWrites(side: 'blue' | 'green'): Promise<void> {
  const other = side === 'blue' ? 'green' : 'blue';
  await execute(pair[side].urls.app, WRITE[side]);
  await expect(execute(pair[other].urls.app, WRITE[other])).rejects.toMatchObject({ code: '25006' });
}

/** A new runner, with nothing but what is stored, comes to a clean comparison. */
async function goesOn(serving: 'blue' | 'green'): Promise<void> {
  const running = run();
  const status = await j.ready(running);
  expect(status).toMatchObject({ phase: 'syncing', serving, stopped: null });
  const verified = await j.command('verify', '--json');
  expect(verified.json<VerifyDocument>()).toMatchObject({ clean: true, mismatches: [] });
  expect(verified.json<VerifyDocument>().rows_compared).toBeGreaterThan(300);
  await takesWrites(serving);
  running.kill('SIGTERM');
  expect((await running.ended).exit).toBe(143);
}

describe('SIGTERM', () => {
  it.each(['chunk.before', 'recompute.before'])('at %s of the beginning', async (point) => {
    const { exit, stderr } = await endAt(run(`${point}:hang`), point);
    expect([exit, stderr]).toEqual([143, expect.stringContaining('TERMINATED')]);
    await execute(pair.blue.urls.app, WRITE.blue);
    await goesOn('blue');
  });

  it.each(['apply.before', 'sweep.before'])('at %s of the sync', async (point) => {
    const running = run();
    await j.ready(running);
    arm(`${point}:hang`);
    await execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'yy' WHERE id % 2 = 0`);
    if (point === 'sweep.before') started.push(j.start(['verify', '--json']));
    expect((await endAt(running, point)).exit).toBe(143);
    await goesOn('blue');
  });

  it.each(['freeze.after', 'arm.after', 'decide.before'])(
    'at %s, in a freeze that nothing has decided: blue takes writes again before the process is gone',
    async (point) => {
      const running = run();
      await j.ready(running);
      arm(`${point}:hang`);
      const cutover = j.start(['cutover', '--freeze-budget', '60s', ...ASK]);
      started.push(cutover);
      const { exit } = await endAt(running, point);
      expect(exit).toBe(143);
      // At once, and not when the lease of a minute has passed.
      await takesWrites('blue');
      const asked = await cutover.ended;
      expect(asked.json<HandoverDocument>()).toMatchObject({ outcome: 'aborted', serving: 'blue' });
      await goesOn('blue');
    },
  );

  it.each(['decide.after', 'open.after', 'switch.before'])(
    'at %s, after the decision: it is finished first, certificate and all',
    async (point) => {
      const running = run();
      await j.ready(running);
      arm(`${point}:hang`);
      const cutover = j.start(['cutover', ...ASK]);
      started.push(cutover);
      const { exit } = await endAt(running, point);
      expect(exit).toBe(143);
      await takesWrites('green');
      const asked = await cutover.ended;
      expect([asked.exit, asked.json<HandoverDocument>()]).toMatchObject([
        0,
        { outcome: 'done', serving: 'green', certificate: { kind: 'cutover' } },
      ]);
      expect(await rows(pair.green.urls.superuser, 'SELECT kind FROM orchestrator.certificate')).toEqual([
        { kind: 'cutover' },
      ]);
      await goesOn('green');
    },
  );
});

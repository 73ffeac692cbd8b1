/** A side that goes away under a handover: what is decided stands, and the command waits to the end (DESIGN 10). */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HandoverKind, Side } from '../../orchestrator/pg/side.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { type Ended, type Journey, journey, type Running } from '../support/journey.ts';
import { rows, withClient } from '../support/sql.ts';
import { Supervised } from '../support/supervised.ts';
import { until } from '../support/until.ts';

const SERVING = `SELECT FROM orchestrator.side WHERE role = 'serving'`;

let pair: OwnPair;
let j: Journey;
let runner: Supervised;

beforeAll(async () => {
  pair = await ownPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 100, seed: 'follows' }));
  j = journey(pair);
  runner = new Supervised(j);
  await j.ready();
});
afterAll(async () => {
  await runner.end();
  await pair.drop();
});

/** Hands over; `side` is stopped in immediate mode at the failpoint, and `comeBack` says what becomes of it. */
async function handedOver(
  kind: HandoverKind,
  point: string,
  side: Side,
  comeBack: (command: Running) => Promise<void>,
  ...flags: string[]
): Promise<Ended> {
  await j.ready();
  const from = runner.output.length;
  runner.arm(`${point}:hang`);
  const command = j.start([
    kind,
    '--yes',
    '--json',
    '--accept-parked',
    'all',
    '--freeze-budget',
    '10s',
    ...flags,
  ]);
  try {
    const hit = await runner.reached(point, from, async () => command.process.exitCode !== null);
    if (!hit) throw new Error((await command.ended).stdout);
    await pair.servers[side].stop('immediate');
    runner.arm('');
    await comeBack(command);
    return await command.ended;
  } finally {
    runner.arm('');
  }
}

const atOnce = () => pair.servers.green.start();

it('an old side that dies right after its decision: the new one opens while it is down (I5)', async () => {
  const later = async () => {
    await until('green to serve', async () => (await rows(pair.green.urls.superuser, SERVING)).length > 0);
    await pair.servers.blue.start();
  };
  const ended = await handedOver('cutover', 'decide.after', 'blue', later);
  expect([0, 6]).toContain(ended.exit);
  expect(ended.json<HandoverDocument>()).toMatchObject({ serving: 'green' });
  expect((await j.ready()).serving).toBe('green');
});

it('a revert that is decided stands: blue serves, and the runner finishes it', async () => {
  const ended = await handedOver('revert', 'open.after', 'green', atOnce);
  expect(ended).toMatchObject({ exit: 6 });
  expect(ended.json<HandoverDocument>()).toMatchObject({ outcome: 'unfinished', serving: 'blue' });
  expect((await j.ready()).serving).toBe('blue');
});

it('a cutover that is not decided yet is undone, and says that blue serves', async () => {
  const ended = await handedOver('cutover', 'verify.after', 'green', atOnce);
  expect(ended).toMatchObject({ exit: 5 });
  expect((await j.status()).serving).toBe('blue');
});

it('one that is decided stands', async () => {
  const ended = await handedOver('cutover', 'decide.after', 'green', atOnce);
  expect(ended).toMatchObject({ exit: 6 });
  expect(ended.json<HandoverDocument>()).toMatchObject({ outcome: 'unfinished', serving: 'green' });
  expect((await j.ready()).serving).toBe('green');
});

it('green that does not come back is told as what it is, and the decision stands', async () => {
  const later = async (command: Running) => {
    await command.ended;
    await pair.servers.green.start();
  };
  const ended = await handedOver('revert', 'decide.after', 'green', later, '--timeout', '1s');
  expect(ended).toMatchObject({ exit: 4 });
  expect(ended.json()).toMatchObject({ error: { code: 'CANNOT_CONNECT', fix: 'orchestrate status' } });
  expect((await j.ready()).serving).toBe('blue');
});

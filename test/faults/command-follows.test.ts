/** A command that has been taken up waits to the end (DESIGN 10), also where green is restarted under it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HandoverKind } from '../../orchestrator/pg/side.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { type Ended, type Journey, journey } from '../support/journey.ts';
import { withClient } from '../support/sql.ts';
import { Supervised } from '../support/supervised.ts';

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

/** Hands over; green is stopped in immediate mode at the failpoint, and `comeBack` says what becomes of it. */
async function handedOver(
  kind: HandoverKind,
  point: string,
  comeBack: (ended: Promise<Ended>) => Promise<unknown>,
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
    await pair.servers.green.stop('immediate');
    await comeBack(command.ended);
    runner.arm('');
    return await command.ended;
  } finally {
    runner.arm('');
  }
}

const atOnce = () => pair.servers.green.start();

it('a cutover that is not decided yet is undone, and says that blue serves', async () => {
  const ended = await handedOver('cutover', 'verify.after', atOnce);
  expect(ended).toMatchObject({ exit: 5 });
  expect((await j.status()).serving).toBe('blue');
});

it('a cutover that is decided stands: green serves, and the runner finishes it', async () => {
  const ended = await handedOver('cutover', 'decide.after', atOnce);
  expect(ended).toMatchObject({ exit: 6 });
  expect(ended.json<HandoverDocument>()).toMatchObject({ outcome: 'unfinished', serving: 'green' });
  expect((await j.ready()).serving).toBe('green');
});

it('so does a revert', async () => {
  const ended = await handedOver('revert', 'open.after', atOnce);
  expect(ended).toMatchObject({ exit: 6 });
  expect(ended.json<HandoverDocument>()).toMatchObject({ outcome: 'unfinished', serving: 'blue' });
  expect((await j.ready()).serving).toBe('blue');
});

it('green that does not come back is told as what it is, and the decision stands', async () => {
  const later = async (ended: Promise<Ended>) => {
    await ended;
    await pair.servers.green.start();
  };
  const ended = await handedOver('cutover', 'decide.after', later, '--timeout', '1s');
  expect(ended).toMatchObject({ exit: 4 });
  expect(ended.json()).toMatchObject({ error: { code: 'CANNOT_CONNECT', fix: 'orchestrate status' } });
  expect((await j.ready()).serving).toBe('green');
});

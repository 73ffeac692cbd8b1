/** A session that answers nothing any more, not even to its own end, keeps no handover waiting in its freeze (I5). */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HandoverKind, Side } from '../../orchestrator/pg/side.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey } from '../support/journey.ts';
import { rows, withClient } from '../support/sql.ts';
import { Supervised } from '../support/supervised.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let j: Journey;
let runner: Supervised;
const stopped: number[] = [];

const BACKENDS = `
  SELECT pid FROM pg_stat_activity
  WHERE datname = current_database() AND application_name LIKE $1`;

function goOn(): void {
  for (const pid of stopped.splice(0)) process.kill(pid, 'SIGCONT');
}

beforeAll(async () => {
  pair = await freshPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 100, seed: 'hung' }));
  j = journey(pair);
  runner = new Supervised(j);
  await j.ready();
});
afterAll(async () => {
  goOn();
  await runner.end();
  await pair.drop();
});

/** Hands over; when the stream is about to be stopped, the sessions of that name answer nothing any more. */
async function handedOver(kind: HandoverKind, side: Side, name: string): Promise<HandoverDocument> {
  await j.ready();
  const from = runner.output.length;
  runner.arm('drain.after:hang');
  const command = j.start([kind, '--yes', '--json', '--accept-parked', 'all', '--freeze-budget', '30s']);
  try {
    const hit = await runner.reached('drain.after', from, async () => command.process.exitCode !== null);
    if (!hit) throw new Error((await command.ended).stdout);
    const backends = await until('its sessions', async () => {
      const found = await rows<{ pid: number }>(pair[side].urls.superuser, BACKENDS, [name]);
      return found.length > 0 ? found : null;
    });
    for (const { pid } of backends) {
      process.kill(pid, 'SIGSTOP');
      stopped.push(pid);
    }
    runner.arm('');
    // Long after the budget: a handover that is not answered by then never is.
    await until('its answer', () => command.process.exitCode !== null, 60_000);
  } finally {
    runner.arm('');
    goOn();
  }
  return (await command.ended).json<HandoverDocument>();
}

it('one that applies', async () => {
  const document = await handedOver('cutover', 'green', 'orchestrate/apply-%');
  expect(document).toMatchObject({ outcome: 'done', serving: 'green' });
});

it('one that keeps the slot of the standby from retaining WAL', async () => {
  const document = await handedOver('revert', 'blue', 'orchestrate/retention');
  expect(document).toMatchObject({ outcome: 'done', serving: 'blue' });
});

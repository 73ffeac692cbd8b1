/** What answers nothing any more, or waits for a lock nobody gives back, keeps no handover waiting in its freeze (I5). */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HandoverKind, Side } from '../../orchestrator/pg/side.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { bothSides } from '../support/stream-oracle.ts';
import { Supervised } from '../support/supervised.ts';
import { until } from '../support/until.ts';

const TAKEN_UP = `
  SELECT FROM orchestrator.request WHERE command = 'finalize' AND status = 'claimed'`;

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

/** Sessions of that name answer nothing any more, not even their own end, until `goOn`. */
async function stop(side: Side, name: string): Promise<void> {
  const backends = await until('its sessions', async () => {
    const found = await rows<{ pid: number }>(pair[side].urls.superuser, BACKENDS, [name]);
    return found.length > 0 ? found : null;
  });
  for (const { pid } of backends) {
    process.kill(pid, 'SIGSTOP');
    stopped.push(pid);
  }
}

/** Hands over; `fault` happens when the failpoint is reached. @returns what is answered while the fault lasts. */
async function handedOver(
  kind: HandoverKind,
  point: string,
  fault: () => Promise<void>,
  budget = '30s',
): Promise<HandoverDocument> {
  await j.ready();
  const from = runner.output.length;
  runner.arm(`${point}:hang`);
  const command = j.start([kind, '--yes', '--json', '--accept-parked', 'all', '--freeze-budget', budget]);
  try {
    const hit = await runner.reached(point, from, async () => command.process.exitCode !== null);
    if (!hit) throw new Error((await command.ended).stdout);
    await fault();
    runner.arm('');
    // Long after the budget: a handover that is not answered by then never is.
    await until('its answer', () => command.process.exitCode !== null, 60_000);
  } finally {
    runner.arm('');
    goOn();
  }
  return (await command.ended).json<HandoverDocument>();
}

/** Waits until the stream's session waits for a lock; `nudge` gives it a reason to. */
const blocked = (side: Side, nudge = async () => {}) =>
  until('the stream to wait for the lock', async () => {
    await nudge();
    const waiting = await rows(pair[side].urls.superuser, `${BACKENDS} AND wait_event_type = 'Lock'`, [
      'orchestrate/apply-%',
    ]);
    return waiting.length > 0;
  });

/** A lock that is held until it is let go. */
interface Held {
  release(): Promise<void>;
}

async function held(side: Side, sql: string): Promise<Held> {
  const client = new pg.Client(pair[side].urls.superuser);
  await client.connect();
  await client.query('BEGIN');
  await client.query(sql);
  return { release: () => client.end() };
}

let written = 10_000;

/** The old application writes a row of its own. */
async function write(): Promise<void> {
  written += 1;
  await execute(
    pair.blue.urls.app,
    `INSERT INTO user_settings (id, keycloak_user_id) VALUES (${written}, 'hung-${written}')`,
  );
}

it('a batch that waits for a lock: the answer comes while the lock is held, and blue serves', async () => {
  let lock: Held | undefined;
  try {
    const document = await handedOver(
      'cutover',
      'pause.before',
      async () => {
        lock = await held('green', 'LOCK TABLE public.settings IN ACCESS EXCLUSIVE MODE');
        await blocked('green', write);
      },
      '10s',
    );
    expect(document).toMatchObject({
      outcome: 'aborted',
      serving: 'blue',
      error: { code: 'HANDOVER_ABORTED' },
    });
    expect(document.steps.at(-1)).toMatchObject({ step: 'drain', ok: false });
    await write();
  } finally {
    await lock?.release();
  }
});

it('a statement of the stream that gets no answer after the drain: blue serves', async () => {
  let lock: Held | undefined;
  try {
    const document = await handedOver(
      'cutover',
      'drain.after',
      async () => {
        lock = await held(
          'green',
          `SELECT FROM orchestrator.progress WHERE direction = 'forward' FOR UPDATE`,
        );
        // WAL that changes nothing of ours: the idle stream stores that it has passed it.
        await blocked('green', () =>
          execute(pair.blue.urls.superuser, `SELECT pg_logical_emit_message(false, 'nobody', 'x')`),
        );
      },
      '10s',
    );
    expect(document).toMatchObject({
      outcome: 'aborted',
      serving: 'blue',
      error: { code: 'HANDOVER_ABORTED' },
    });
    expect(document.steps.at(-1)).toMatchObject({ step: 'stop', ok: false });
    await write();
  } finally {
    await lock?.release();
  }
});

it('the session that applies, between two batches', async () => {
  const document = await handedOver('cutover', 'drain.after', () => stop('green', 'orchestrate/apply-%'));
  expect(document).toMatchObject({ outcome: 'done', serving: 'green' });
});

it('the session that keeps the slot of the standby from retaining WAL', async () => {
  const document = await handedOver('revert', 'drain.after', () => stop('blue', 'orchestrate/retention'));
  expect(document).toMatchObject({ outcome: 'done', serving: 'blue' });
});

it('the session of the old side, right after its decision: the new side is opened all the same', async () => {
  const document = await handedOver('cutover', 'decide.after', () => stop('blue', 'orchestrate/handover'));
  expect(document).toMatchObject({ outcome: 'done', serving: 'green' });
  expect(document.steps).toContainEqual(expect.objectContaining({ step: 'open', ok: true }));
});

it('the session of the old side, after the opening: nobody waits for its end', async () => {
  const document = await handedOver('revert', 'open.after', () => stop('green', 'orchestrate/handover'));
  expect(document).toMatchObject({ outcome: 'done', serving: 'blue' });
});

it('nothing that was written is lost by any of it', async () => {
  await write();
  await until('the stream to have brought it', async () => {
    const sides = await bothSides(pair);
    return sides.blue.length === sides.green.length;
  });
  const sides = await bothSides(pair);
  expect(sides.blue).toHaveLength(100 + written - 10_000);
  expect(sides.green).toEqual(sides.blue);
});

it('finalize waits for the batch in flight: the old side keeps what the new one had written', async () => {
  expect(await handedOver('cutover', 'drain.after', async () => {})).toMatchObject({ outcome: 'done' });
  await j.ready();
  const lock = await held('blue', 'LOCK TABLE public.user_settings IN ACCESS EXCLUSIVE MODE');
  await execute(pair.green.urls.app, `UPDATE settings SET language = 'last' WHERE id = 1`);
  await blocked('blue');
  const finalized = j.start(['finalize', '--yes', '--json']);
  try {
    await until(
      'it to be taken up',
      async () => (await rows(pair.green.urls.superuser, TAKEN_UP)).length > 0,
    );
    // Longer than a stream that is given up is waited for.
    await delay(7_000);
    expect(finalized.process.exitCode).toBeNull();
  } finally {
    await lock.release();
  }
  expect(await finalized.ended).toMatchObject({ exit: 0 });
  const [row] = await rows<{ language: string }>(
    pair.blue.urls.superuser,
    'SELECT language FROM public.user_settings WHERE id = 1',
  );
  expect(row?.language).toBe('last');
});

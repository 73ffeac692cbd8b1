import { afterEach, describe, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument, VerifyDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { Scribe } from '../support/scribe.ts';
import { rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const TEST = { ORCHESTRATE_TEST: '1' };

describe('kill -9 of the runner, then run again', () => {
  let pair: Pair;
  let running: Running | undefined;
  let scribe: Scribe | undefined;
  let j: Journey;

  const start = async (users = 2_000) => {
    pair = await freshPair();
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users, seed: 'crash' }));
    j = journey(pair);
    const ids = await rows<{ id: number }>(
      pair.blue.urls.superuser,
      `SELECT min(id) AS id FROM user_settings WHERE keycloak_user_id <> '' GROUP BY keycloak_user_id ORDER BY 1 LIMIT 200`,
    );
    scribe = new Scribe(
      pair,
      ids.map((r) => r.id),
    );
  };

  afterEach(async () => {
    await scribe?.stop();
    running?.kill('SIGKILL');
    await running?.ended;
    running = undefined;
    scribe = undefined;
    await pair.drop();
  });

  /** Everything that was promised is there, both sides agree, and the program says so too. */
  const allIsWell = async (serving: 'blue' | 'green') => {
    await scribe?.stop();
    expect(scribe?.acknowledged).toBeGreaterThan(50);
    const verify = await j.command('verify', '--json');
    expect(verify.json<VerifyDocument>(), verify.stderr).toMatchObject({ clean: true });
    expect(await scribe?.lost(serving)).toBe(0);
    expect(await scribe?.lost(serving === 'blue' ? 'green' : 'blue')).toBe(0);
  };

  const killedAt = async (failpoint: string, nth: number, ...command: string[]) => {
    running = j.run({ ...TEST, ORCHESTRATE_FAILPOINT: `${failpoint}:crash:${nth}` });
    if (command.length > 0) {
      await j.ready(running);
      void j.command(...command);
    }
    await running.ended;
    expect(running.stderr()).toContain(`failpoint ${failpoint} ${nth}`);
    expect(running.process.signalCode).toBe('SIGKILL');
  };

  it('during the copy', async () => {
    await start(5_000);
    await killedAt('chunk.after', 1);
    running = j.run();
    await j.ready(running);
    await allIsWell('blue');
  });

  it('during the sync, which had been paused: what the operator said outlives the runner', async () => {
    await start();
    await killedAt('apply.after', 20);
    running = j.run();
    await j.ready(running);
    expect((await j.command('pause')).exit).toBe(0);
    running.kill('SIGKILL');
    await running.ended;
    running = j.run();
    await j.ready(running);
    const paused = async () =>
      (await rows<{ paused: boolean }>(pair.green.urls.sync, 'SELECT paused FROM orchestrator.run'))[0]
        ?.paused;
    await until('the new runner to rest', async () => {
      const [seen] = await rows<{ paused: boolean }>(
        pair.green.urls.sync,
        `SELECT (o.body->>'paused')::boolean AS paused
         FROM orchestrator.observation AS o
         WHERE o.at > (SELECT max(at) FROM orchestrator.journal WHERE event = 'runner')`,
      );
      return seen?.paused;
    });
    expect((await j.command('resume')).exit).toBe(0);
    expect(await paused()).toBe(false);
    await allIsWell('blue');
  });

  it('inside the freeze: blue takes writes again within the budget though nobody starts run', async () => {
    await start();
    running = j.run({ ...TEST, ORCHESTRATE_FAILPOINT: 'freeze.after:crash' });
    await j.ready(running);
    const command = j.command(
      'cutover',
      '--yes',
      '--json',
      '--accept-parked',
      'all',
      '--freeze-budget',
      '4s',
      '--timeout',
      '2s',
    );
    await running.ended;
    const killed = performance.now();
    const before = scribe?.acknowledged ?? 0;
    await until('a write on blue', () => (scribe?.acknowledged ?? 0) > before + 5, 10_000);
    expect(scribe?.lastSide).toBe('blue');
    expect(performance.now() - killed).toBeLessThan(6_000);
    expect((await command).exit).not.toBe(0);

    running = j.run();
    await j.ready(running);
    const again = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
    expect(again.json<HandoverDocument>(), again.stderr).toMatchObject({ outcome: 'done', serving: 'green' });
    await allIsWell('green');
  });

  it('between decide and open: run finishes what was decided', async () => {
    await start();
    await killedAt(
      'decide.after',
      1,
      'cutover',
      '--yes',
      '--json',
      '--accept-parked',
      'all',
      '--timeout',
      '5s',
    );
    // Neither side takes writes now, and neither opens by itself.
    running = j.run();
    await until('green to serve', async () => (await j.status()).serving === 'green', 30_000);
    await until('a write on green', () => scribe?.lastSide === 'green', 30_000);
    await allIsWell('green');
  });
});

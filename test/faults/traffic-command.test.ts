import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

/** The operator's own program: it writes down how it was called, and fails at the step a file names, or once. */
const COMMAND = `#!/bin/sh
here=$(dirname "$0")
echo "$1 $ORCHESTRATE_KIND $ORCHESTRATE_FROM-$ORCHESTRATE_TO" >>"$here/calls"
env | grep -E '^(ORCHESTRATE_.*URL|PG)' >>"$here/secrets"
rm "$here/once-$1" 2>/dev/null && exit 1
[ "$(cat "$here/fails" 2>/dev/null)" != "$1" ]
`;

const ARGS = ['--yes', '--json', '--accept-parked', 'all'];

describe('traffic=command', () => {
  let directory: string;
  let pair: Pair;
  let j: Journey;
  let running: Running | undefined;

  beforeEach(async () => {
    directory = await mkdtemp(join(os.tmpdir(), 'orchestrate-traffic-'));
    await writeFile(join(directory, 'traffic'), COMMAND);
    await chmod(join(directory, 'traffic'), 0o755);
    pair = await freshPair();
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 200, seed: 'traffic' }));
    j = journey(pair);
  });
  afterEach(async () => {
    running?.kill('SIGKILL');
    await running?.ended;
    await pair.drop();
    await rm(directory, { recursive: true, force: true });
  });

  const start = async (environment: Record<string, string> = {}) => {
    running = j.run(environment, '--traffic', 'command', '--traffic-command', join(directory, 'traffic'));
    await j.ready(running);
  };
  const calls = async () => {
    const text = await readFile(join(directory, 'calls'), 'utf8').catch(() => '');
    return text.split('\n').filter((line) => line !== '');
  };

  it('is called step by step, there and back, without a secret; a pause that fails is undone and blue serves', async () => {
    await start();
    await writeFile(join(directory, 'fails'), 'check');
    const refused = await j.command('cutover', ...ARGS);
    expect(refused.exit).toBe(3);
    expect(refused.json()).toMatchObject({ outcome: 'no-go', error: { found: 'traffic' } });
    expect(await calls()).toEqual(['check cutover blue-green']);

    await rm(join(directory, 'calls'));
    await writeFile(join(directory, 'fails'), 'pause');
    const failed = await j.command('cutover', ...ARGS);
    expect(failed.exit).toBe(5);
    expect(failed.json()).toMatchObject({ outcome: 'aborted', serving: 'blue' });
    expect(await calls()).toEqual([
      'check cutover blue-green',
      'pause cutover blue-green',
      'undo cutover blue-green',
    ]);

    await rm(join(directory, 'fails'));
    await rm(join(directory, 'calls'));
    const cutover = await j.command('cutover', ...ARGS);
    expect(cutover.json<HandoverDocument>(), cutover.stderr).toMatchObject({
      outcome: 'done',
      serving: 'green',
    });
    const revert = await j.command('revert', ...ARGS);
    expect(revert.json<HandoverDocument>(), revert.stderr).toMatchObject({
      outcome: 'done',
      serving: 'blue',
    });
    expect(await calls()).toEqual([
      ...['check', 'pause', 'switch', 'resume'].map((step) => `${step} cutover blue-green`),
      ...['check', 'pause', 'switch', 'resume'].map((step) => `${step} revert green-blue`),
    ]);
    expect(await readFile(join(directory, 'secrets'), 'utf8')).toBe('');
  });

  it('clients that a runner left paused, dead with its decision, are resumed at the deadline and moved on by the next', async () => {
    await start({ ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: 'decide.after:crash' });
    void j.command('cutover', ...ARGS, '--timeout', '2s', '--freeze-budget', '4s');
    await running?.ended;
    await until('the clients to be resumed', async () =>
      (await calls()).includes('resume cutover blue-green'),
    );
    expect(await calls()).not.toContain('switch cutover blue-green');

    await start();
    expect((await j.status()).serving).toBe('green');
    expect((await calls()).slice(-2)).toEqual(['switch cutover blue-green', 'resume cutover blue-green']);
  });

  it('clients that a runner left paused, dead after it had opened green, are moved on by the next', async () => {
    await start({ ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: 'switch.before:crash' });
    void j.command('cutover', ...ARGS, '--timeout', '2s');
    await running?.ended;
    expect((await calls()).at(-1)).toBe('pause cutover blue-green');

    // A command that knows of no driver leaves them to the one that does.
    expect((await j.command('verify', '--json')).exit).toBe(0);
    expect(await j.status()).toMatchObject({ serving: 'green', unmoved: 'blue' });

    await start();
    await until('the clients to be moved', async () => (await j.status()).unmoved === null);
    expect((await calls()).slice(-2)).toEqual(['switch cutover blue-green', 'resume cutover blue-green']);
  });

  it('a switch that fails once is made again, and the handover is done', async () => {
    await start();
    await writeFile(join(directory, 'once-switch'), '');
    const cutover = await j.command('cutover', ...ARGS);
    expect(cutover.json(), cutover.stderr).toMatchObject({ outcome: 'done', serving: 'green' });
    expect(await calls()).toEqual(
      ['check', 'pause', 'switch', 'switch', 'resume'].map((step) => `${step} cutover blue-green`),
    );
  });

  it('a switch that goes on failing: clients are resumed, the way back runs, and the runner moves them later', async () => {
    await start();
    await writeFile(join(directory, 'fails'), 'switch');
    const cutover = await j.command('cutover', ...ARGS);
    expect(cutover.exit).toBe(6);
    expect(cutover.json()).toMatchObject({
      outcome: 'unfinished',
      serving: 'green',
      error: { code: 'HANDOVER_UNFINISHED', found: expect.stringContaining('exit code 1') },
      certificate: { generation: 1 },
      next_steps: ['orchestrate status --watch'],
    });
    expect(await calls()).toContain('resume cutover blue-green');
    expect(await j.status()).toMatchObject({
      phase: 'syncing',
      serving: 'green',
      unmoved: 'blue',
      next_steps: ['orchestrate status --watch'],
    });
    await execute(pair.green.urls.app, "UPDATE settings SET language = 'back' WHERE id = 7");
    await until(
      'the way back to bring it',
      async () =>
        (await rows(pair.blue.urls.superuser, "SELECT FROM user_settings WHERE id = 7 AND language = 'back'"))
          .length === 1,
    );

    // An attempt that comes to nothing does not forget them, and nothing ends while they are led to a closed side.
    const rehearsed = await j.command('revert', '--rehearse', ...ARGS);
    expect(rehearsed.json(), rehearsed.stderr).toMatchObject({ outcome: 'rehearsed' });
    expect((await j.status()).unmoved).toBe('blue');
    const finalize = await j.command('finalize', '--yes', '--json');
    expect(finalize.exit).toBe(3);
    expect(finalize.json()).toMatchObject({ error: { message: expect.stringContaining('led to blue') } });

    // Nobody is there: whoever comes next goes on.
    running?.kill('SIGKILL');
    await running?.ended;
    await until(
      'the runner to be missed',
      async () => (await j.status()).next_steps.join() === 'orchestrate run',
    );
    await start();
    expect((await j.status()).unmoved).toBe('blue');
    await rm(join(directory, 'fails'));
    await until('the clients to be moved', async () => (await j.status()).unmoved === null);
    expect((await calls()).slice(-2)).toEqual(['switch cutover blue-green', 'resume cutover blue-green']);

    const before = (await calls()).length;
    const revert = await j.command('revert', ...ARGS);
    expect(revert.json(), revert.stderr).toMatchObject({ outcome: 'done', serving: 'blue' });
    expect((await calls()).slice(before)).toEqual(
      ['check', 'pause', 'switch', 'resume'].map((step) => `${step} revert green-blue`),
    );
  });

  it('a switch that goes on failing in a command without a runner: it says that one has to be started', async () => {
    await start();
    running?.kill();
    await running?.ended;
    await writeFile(join(directory, 'fails'), 'switch');
    const driver = {
      ORCHESTRATE_TRAFFIC: 'command',
      ORCHESTRATE_TRAFFIC_COMMAND: join(directory, 'traffic'),
    };
    const cutover = await j.commandIn(driver, 'cutover', ...ARGS);
    expect(cutover.exit).toBe(6);
    expect(cutover.json()).toMatchObject({
      outcome: 'unfinished',
      serving: 'green',
      next_steps: ['orchestrate run'],
    });
    expect((await j.status()).unmoved).toBe('blue');
  });

  it('a runner that slept through a takeover and a revert leads nobody back', async () => {
    await start();
    await writeFile(join(directory, 'fails'), 'switch');
    void j.command('cutover', ...ARGS, '--timeout', '60s');
    await until(
      'a second try',
      async () => (await calls()).filter((call) => call.startsWith('switch')).length > 1,
    );
    const asleep = running as Running;
    asleep.kill('SIGSTOP');
    try {
      await rm(join(directory, 'fails'));
      await start();
      await until(
        'the clients to be moved',
        async () => (await calls()).at(-1) === 'resume cutover blue-green',
      );
      const revert = await j.command('revert', ...ARGS);
      expect(revert.json(), revert.stderr).toMatchObject({ outcome: 'done', serving: 'blue' });
    } finally {
      asleep.kill('SIGCONT');
    }
    expect((await asleep.ended).exit).toBe(7);
    expect((await calls()).at(-1)).toBe('resume revert green-blue');
  });

  it('clients that a dead runner left paused inside the freeze are given back to blue', async () => {
    await start({ ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: 'freeze.after:crash' });
    void j.command('cutover', ...ARGS, '--timeout', '2s');
    await running?.ended;
    await start();
    expect((await j.status()).serving).toBe('blue');
    expect(await calls()).toContain('undo cutover blue-green');
    expect(await calls()).not.toContain('switch cutover blue-green');
  });
});

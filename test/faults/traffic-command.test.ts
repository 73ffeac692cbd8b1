import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

/** The operator's own program: it writes down how it was called, and fails at the step a file names. */
const COMMAND = `#!/bin/sh
here=$(dirname "$0")
echo "$1 $ORCHESTRATE_KIND $ORCHESTRATE_FROM-$ORCHESTRATE_TO" >>"$here/calls"
env | grep -E '^(ORCHESTRATE_.*URL|PG)' >>"$here/secrets"
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

    await start();
    expect((await j.status()).serving).toBe('green');
    expect((await calls()).slice(-2)).toEqual(['switch cutover blue-green', 'resume cutover blue-green']);
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

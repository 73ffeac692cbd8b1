import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../orchestrator/cli/commands.ts';
import { asksForJson } from '../../orchestrator/cli/execute.ts';
import { parseCommandLine } from '../../orchestrator/cli/program.ts';
import type { ErrorDocument } from '../../orchestrator/errors/failure.ts';
import { type Outcome, orchestrate } from '../support/in-process.ts';

const errorOf = (ended: Outcome) => ended.json<{ error: ErrorDocument }>().error;

describe('help', () => {
  it('lists every command of the interface', async () => {
    const { exit, stdout, stderr } = await orchestrate(['--help']);
    expect([exit, stderr]).toEqual([0, '']);
    for (const command of COMMANDS) expect(stdout).toContain(`orchestrate ${command.name}`);
    expect(COMMANDS.map((c) => c.name).join(' ')).toBe(
      'preflight plan run worker status events verify cutover revert abort finalize pause resume migrate grants rehearse config version completion',
    );
  });

  it.each(COMMANDS.map((c) => c.name))('%s --help', async (name) => {
    const { exit, stdout, stderr } = await orchestrate([name, '--help']);
    expect([exit, stderr]).toEqual([0, '']);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    await expect(stdout).toMatchFileSnapshot(`__snapshots__/help/${name}.txt`);
  });

  it('names the version of the package', async () => {
    expect((await orchestrate(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('usage errors end with 2, on stderr in the order of the contract, and as one document with --json', () => {
  const both = ['--blue-url', 'postgres://u@127.0.0.1:1/d', '--green-url', 'postgres://u@127.0.0.1:1/d'];

  it.each<[string, string[], string]>([
    ['no command', [], 'a command is missing'],
    ['an unknown command', ['statsu'], 'orchestrate status'],
    ['an unknown flag', ['status', '--max-lgg', '1'], '--max-lag'],
    ['a flag of another command', ['status', '--repair'], 'repair'],
    ['a value that is none', ['status', '--max-lag', '16MB'], '16MiB'],
    ['a flag without its value', ['status', '--max-lag'], 'a value after it'],
    ['an action that is none', ['migrate', 'sideways'], 'up'],
    ['no database', ['status'], 'ORCHESTRATE_BLUE_URL'],
    ['URLs that are none', ['status', '--blue-url', 'x', '--green-url', 'http://x'], 'postgres://user@host'],
    ['no confirmation: cutover', ['cutover', ...both], 'orchestrate cutover --yes'],
    ['no confirmation: revert', ['revert', ...both], 'orchestrate revert --yes'],
    ['no confirmation: finalize', ['finalize', ...both], 'orchestrate finalize --yes'],
    ['no confirmation: abort', ['abort', ...both], 'orchestrate abort --yes'],
    ['two answers at once', ['cutover', '--dry-run', '--rehearse', ...both], 'exclude each other'],
    ['an id that is none', ['events', '--after', 'x', ...both], 'the id of a journal entry'],
    ['a wrong file', ['status', '--config', '/no/such'], 'ENOENT'],
  ])('%s', async (_what, args, part) => {
    const plain = await orchestrate(args);
    expect([plain.exit, plain.stdout]).toEqual([2, '']);
    expect(plain.stderr).toContain(part);
    const order = ['serving', 'expected', 'found', 'fix', 'runbook'].map((w) =>
      plain.stderr.search(new RegExp(`^  ${w} `, 'm')),
    );
    expect(order.every((at) => at > 0)).toBe(true);
    expect([...order].sort((a, b) => a - b)).toEqual(order);
    expect(plain.stderr).not.toMatch(/^\s+at /m);

    const json = await orchestrate([...args, '--json']);
    expect(json.exit).toBe(2);
    expect(plain.stderr.startsWith(errorOf(json).code)).toBe(true);
    expect(Object.keys(errorOf(json))).toEqual([
      'code',
      'message',
      'serving',
      'expected',
      'found',
      'fix',
      'runbook',
    ]);
  });

  it('every problem of flags, environment and file at once', async () => {
    const out = await orchestrate(['status', '--max-lag', 'x', '--json'], {
      ORCHESTRATE_FREEZE_BUDGET: 'long',
      ORCHESTRATE_CONFIG: '/no/such',
    });
    expect(out.exit).toBe(2);
    expect(errorOf(out).message).toContain('3 problems');
    expect(errorOf(out).expected).toMatch(
      /--max-lag: .*; ORCHESTRATE_FREEZE_BUDGET: .*\/no\/such: a readable file/,
    );
  });

  it('does not choke on variables that a Service of our name injects', async () => {
    const out = await orchestrate(['plan'], {
      ORCHESTRATE_PORT: 'tcp://10.0.0.1:1',
      ORCHESTRATE_SERVICE_HOST: 'x',
    });
    expect([out.exit, out.stderr]).toEqual([0, '']);
  });

  it('a database that does not answer ends with 4', async () => {
    const out = await orchestrate(['preflight', '--json', ...both]);
    expect([out.exit, errorOf(out).code]).toEqual([4, 'CANNOT_CONNECT']);
  });

  it('never repeats a password, whatever is wrong', async () => {
    const secret = 'hunter2hunter2';
    for (const url of [
      `postgres://u:${secret}@127.0.0.1:1/d`,
      `postgres://u:${secret}@@127.0.0.1:x/d`,
      `postgres://u:${secret}%zz@h/d`,
      `mysql://u:${secret}@h/d`,
      `host=h password=${secret}`,
      `postgres://u:${secret}@h/d?sslmode=never`,
    ])
      for (const args of [
        ['status', '--blue-url', url, '--green-url', url],
        ['status', '--blue-url', url, '--green-url', url, '--log-format', 'json'],
        ['preflight', '--json', '--blue-url', url, '--green-url', url],
        ['status', url],
        ['status', '--max-lag', url],
        ['status', '--blue-url-file', url],
        [url],
        ['status', `--${url}`],
      ]) {
        const { stdout, stderr } = await orchestrate(args, { ORCHESTRATE_BLUE_URL: url });
        expect(stdout + stderr).not.toContain(secret);
      }
  });
});

describe('the command line', () => {
  it('takes values as text: nothing is turned into a number on the way', async () => {
    const parsed = await parseCommandLine(['run', '--migration', '0012', '--copy-workers', '1e1'], 80);
    if (!('argv' in parsed)) throw new Error('printed help');
    expect([parsed.argv['migration'], parsed.argv['copy-workers']]).toEqual(['0012', '1e1']);
  });

  it('knows of --json before it is parsed', () => {
    expect(asksForJson(['status', '--json'], {})).toBe(true);
    expect(asksForJson(['status', '--output', 'json'], {})).toBe(true);
    expect(asksForJson(['status', '--output=table'], { ORCHESTRATE_OUTPUT: 'json' })).toBe(false);
    expect(asksForJson(['status'], { ORCHESTRATE_OUTPUT: 'json' })).toBe(true);
    expect(asksForJson(['status'], {})).toBe(false);
  });

  it('plan needs no database', async () => {
    const { exit, stdout } = await orchestrate(['plan', '--sql', '--json', '--source-schema', 'a"b']);
    const plan = JSON.parse(stdout) as { creates: { blue: string[] }; sql: Record<string, string> };
    expect(exit).toBe(0);
    expect(plan.creates.blue).toContain('replication slot orchestrate_user_settings_org_blue');
    expect(plan.sql['forward user']).toContain('FROM "a""b"."user_settings" AS us');
  });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ConfigDocument } from '../../orchestrator/cli/config.ts';
import { OPTION_NAMES } from '../../orchestrator/config/tree.ts';
import type { ErrorDocument } from '../../orchestrator/errors/failure.ts';
import { orchestrate } from '../support/in-process.ts';

let scratch = '';
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'config-command-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
}

describe('config show', () => {
  it('names every option with its value as it would be typed and where it came from, and no password', async () => {
    const ended = await orchestrate(
      ['config', 'show', '--json', '--max-lag', '1048576', '--config', file('a.yaml', 'freeze-budget: 4s\n')],
      {
        ORCHESTRATE_BLUE_URL: 'postgres://writer:not-for-eyes@db.example:6432/app',
        ORCHESTRATE_GREEN_URL_FILE: file('green', 'postgres://writer:nor-this-one@127.0.0.1/app\n'),
      },
    );
    expect([ended.exit, ended.stderr]).toEqual([0, '']);
    const { options } = ended.json<ConfigDocument & Record<string, unknown>>();
    expect(options.map((o) => o.name)).toEqual(OPTION_NAMES);
    const of = (name: string) => options.find((o) => o.name === name);
    expect(of('max-lag')).toMatchObject({ value: '1MiB', source: 'flag' });
    expect(of('freeze-budget')).toMatchObject({ value: '4s', source: 'file' });
    expect(of('blue-url')).toMatchObject({ value: 'writer@db.example:6432/app', source: 'environment' });
    expect(of('green-url')).toMatchObject({ value: null, source: 'default' });
    expect(of('truncate')).toMatchObject({
      value: 'apply',
      source: 'default',
      variable: 'ORCHESTRATE_TRUNCATE',
    });
    expect(ended.stdout).not.toMatch(/not-for-eyes|nor-this-one/);
  });

  it('prints a table for a person, with what is not set at its end', async () => {
    const { exit, stdout } = await orchestrate(['config', 'show', '--sweep-interval', '1h']);
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^sweep-interval +1h +flag$/m);
    expect(stdout).toMatch(/^not set: blue-url, /m);
  });
});

describe('config validate', () => {
  it('says how much was given', async () => {
    const { exit, stdout } = await orchestrate(['config', 'validate'], { ORCHESTRATE_MAX_LAG: '2MiB' });
    expect([exit, stdout]).toEqual([
      0,
      `The configuration is valid: 1 of ${OPTION_NAMES.length} options given\n`,
    ]);
  });

  it.each<[string, string[], string]>([
    ['a URL that is none', ['--blue-url', 'postgres://u@h/d?sslmode=maybe'], 'sslmode among'],
    ['a file with a URL that is not there', ['--green-url-file', '/no/such'], 'ENOENT'],
    ['an unknown key', ['--config', 'FILE'], 'the option max-lag'],
    [
      'a connection string where a name belongs',
      ['--migration', 'postgres://u:p4ssw0rd@h/d'],
      'no connection string',
    ],
  ])('%s', async (_what, args, part) => {
    const path = file('bad.yaml', 'max-lgg: 1MiB\n');
    const ended = await orchestrate([
      'config',
      'validate',
      '--json',
      ...args.map((a) => (a === 'FILE' ? path : a)),
    ]);
    expect(ended.exit).toBe(2);
    const { error } = ended.json<{ error: ErrorDocument }>();
    expect(error.code).toBe('CONFIG_INVALID');
    expect(JSON.stringify(error)).toContain(part);
    expect(ended.stdout + ended.stderr).not.toContain('p4ssw0rd');
  });
});

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../orchestrator/cli/commands.ts';
import { parseCommandLine } from '../../orchestrator/cli/program.ts';
import { quickAnswer } from '../../orchestrator/cli/root-help.ts';
import { SUMMARIES, WITH_ACTION } from '../../orchestrator/cli/summaries.ts';
import { buildProgram, PROGRAM } from '../support/program.ts';

const scratch = mkdtempSync(join(tmpdir(), 'orchestrate-start-'));
const list = join(scratch, 'loaded');
const hook = join(scratch, 'hook.mjs');

/** Writes down the address of every module that is loaded. */
const HOOK = `import { register } from 'node:module';
register('data:text/javascript,' + encodeURIComponent(\`
import { appendFileSync } from 'node:fs';
export async function load(url, context, next) {
  appendFileSync(\${JSON.stringify(process.env.LOADED)}, url + '\\\\n');
  return next(url, context);
}\`));
`;

/** What one command line loads: packages by name, files of ours by their path below dist. */
function loadedBy(args: readonly string[]): { packages: string[]; files: string[] } {
  writeFileSync(list, '');
  execFileSync(process.execPath, ['--import', pathToFileURL(hook).href, PROGRAM, ...args], {
    env: { ...process.env, LOADED: list },
    stdio: 'ignore',
  });
  const urls = readFileSync(list, 'utf8').trim().split('\n');
  const packages = urls.flatMap((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? []);
  const files = urls.flatMap((url) => /\/dist\/(.*)$/.exec(url)?.[1] ?? []);
  return { packages: [...new Set(packages)], files };
}

beforeAll(async () => {
  writeFileSync(hook, HOOK);
  await buildProgram();
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('what is loaded before anything is done', () => {
  it.each(['--help', '-h', '--version'])('%s: no package, and only a handful of files', (flag) => {
    const { packages, files } = loadedBy([flag]);
    expect(files).toContain('orchestrator/cli/root-help.js');
    expect(packages).toEqual([]);
    expect(files.length).toBeLessThanOrEqual(14);
  });

  it.each([
    ['version', []],
    ['config show', []],
    ['status --help', []],
  ])('%s: the parser and the check of the settings, no driver', (line) => {
    const { packages } = loadedBy(line.split(' '));
    expect(packages).toContain('yargs');
    const heavy = [
      'pg',
      'pg-copy-streams',
      'pg-logical-replication',
      'sequelize',
      'umzug',
      'pino',
      'prom-client',
      'yaml',
      '@clack/prompts',
      '@kubernetes/client-node',
    ];
    expect(packages.filter((name) => heavy.includes(name))).toEqual([]);
  });
});

describe('the quick answer is what the parser would print', () => {
  it.each([70, 79, 80, 93, 100, 200])('%i columns wide', async (columns) => {
    const parsed = await parseCommandLine(['--help'], columns);
    expect('printed' in parsed && parsed.printed.trimEnd()).toBe(quickAnswer(['--help'], columns));
  });

  it('fits a narrow terminal', () => {
    const lines = (quickAnswer(['-h'], 40) ?? '').split('\n');
    expect(lines.length).toBeGreaterThan(COMMANDS.length);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it('is of no other command line', () => {
    for (const args of [[], ['status'], ['--help', '--json'], ['status', '--help']])
      expect(quickAnswer(args, 80)).toBeUndefined();
  });

  it('knows every command', () => {
    expect(Object.keys(SUMMARIES)).toEqual(COMMANDS.map((c) => c.name));
    expect(WITH_ACTION).toEqual(COMMANDS.filter((c) => c.action !== undefined).map((c) => c.name));
  });
});

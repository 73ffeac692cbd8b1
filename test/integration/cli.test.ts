import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ErrorDocument } from '../../orchestrator/errors/failure.ts';
import type { PreflightDocument, StatusDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Outcome, orchestrate } from '../support/in-process.ts';
import { PROGRAM } from '../support/program.ts';
import { rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

type Failed = { error: ErrorDocument };

let pair: Pair;
let scratch = '';

beforeAll(async () => {
  pair = await freshPair();
  scratch = mkdtempSync(join(tmpdir(), 'cli-'));
});
afterAll(async () => {
  await pair.drop();
  rmSync(scratch, { recursive: true, force: true });
});

const environmentOf = (more: Record<string, string> = {}) => ({
  ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
  ORCHESTRATE_GREEN_URL: pair.green.urls.sync,
  ORCHESTRATE_METRICS_LISTEN: '127.0.0.1:0',
  ...more,
});

/** One command on this pair, in this process. */
const command = (...args: string[]): Promise<Outcome> => orchestrate(args, environmentOf());
const commandIn = (more: Record<string, string>, ...args: string[]): Promise<Outcome> =>
  orchestrate(args, environmentOf(more));

/** The program as a process, with its streams in our hands. */
function start(...args: string[]): ChildProcess {
  return spawn(process.execPath, [PROGRAM, ...args], {
    env: { PATH: process.env['PATH'] ?? '', ...environmentOf() },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

const wrongPassword = (url: string) => url.replace(/:[^:@/]+@/, ':not-the-password@');

describe('before anything was started', () => {
  it('status: created, blue serves, exit 0', async () => {
    const ended = await command('status', '--json');
    expect(ended.exit).toBe(0);
    expect(ended.json<StatusDocument>()).toMatchObject({
      migration: 'user-settings-org',
      phase: 'created',
      serving: 'blue',
      standby: 'green',
      stopped: null,
      unreachable: [],
      copy: { rows_done: null, rows_expected: null, eta: null },
      gates: [],
    });
    expect((await command('status')).stdout).toMatch(/^user-settings-org {3}CREATED {3}writes → BLUE\n/);
  });

  it('preflight: a document with every finding', async () => {
    const ended = await command('preflight', '--json');
    const document = ended.json<PreflightDocument>();
    expect(document.findings.filter((f) => f.severity === 'stop')).toEqual([]);
    expect([ended.exit, document.ok]).toEqual([0, true]);
  });

  it('preflight on the same database twice: 3, with expected, found and fix', async () => {
    const same = { ORCHESTRATE_GREEN_URL: pair.blue.urls.sync };
    const ended = await commandIn(same, 'preflight', '--json');
    const document = ended.json<PreflightDocument & Failed>();
    expect([ended.exit, document.ok, document.error.code]).toEqual([3, false, 'PREFLIGHT_FAILED']);
    for (const finding of document.findings)
      expect(Object.keys(finding).sort()).toEqual(['check', 'expected', 'fix', 'found', 'severity', 'side']);
    const plain = await commandIn(same, 'preflight');
    expect(plain.stdout).toContain('STOP');
    expect(plain.stderr).toMatch(/^PREFLIGHT_FAILED/);
  });

  it.each(['verify', 'cutover', 'revert', 'finalize', 'pause', 'resume'])(
    '%s has no meaning: 3',
    async (name) => {
      const yes = ['cutover', 'revert', 'finalize'].includes(name) ? ['--yes'] : [];
      const ended = await command(name, '--json', ...yes);
      expect([ended.exit, ended.json<Failed>().error.code]).toEqual([3, 'WRONG_PHASE']);
    },
  );

  it('events: none', async () => {
    const ended = await command('events', '--json');
    expect([ended.exit, ended.json()]).toEqual([0, { events: [] }]);
  });
});

describe('connections', () => {
  it('a wrong password ends with 4 and is not repeated', async () => {
    const environment = { ORCHESTRATE_GREEN_URL: wrongPassword(pair.green.urls.sync) };
    for (const name of ['status', 'preflight', 'run', 'verify']) {
      const ended = await commandIn(environment, name, '--json');
      expect([name, ended.exit, ended.json<Failed>().error.code]).toEqual([name, 4, 'AUTHENTICATION']);
      expect(ended.stdout + ended.stderr).not.toContain('not-the-password');
    }
  });

  it('a side that does not answer: what is known, its name, and 4', async () => {
    const environment = { ORCHESTRATE_GREEN_URL: 'postgres://u:pppppp@127.0.0.1:1/d' };
    const ended = await commandIn(environment, 'status', '--json');
    expect([ended.exit, ended.json<StatusDocument>().unreachable]).toEqual([4, ['green']]);
  });

  it('URLs from files, mounted like secrets', async () => {
    for (const side of ['blue', 'green'] as const)
      writeFileSync(join(scratch, side), `${pair[side].urls.sync}\n`, { mode: 0o400 });
    const ended = await commandIn(
      {
        ORCHESTRATE_BLUE_URL: '',
        ORCHESTRATE_GREEN_URL: '',
        ORCHESTRATE_BLUE_URL_FILE: join(scratch, 'blue'),
        ORCHESTRATE_GREEN_URL_FILE: join(scratch, 'green'),
      },
      'status',
      '--json',
    );
    expect(ended.exit).toBe(0);
  });

  it.runIf(process.platform === 'linux')(
    'a URL given as a flag does not stay in the process list',
    async () => {
      const child = start('status', '--watch', '--json', '--blue-url', pair.blue.urls.sync);
      await once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), 'line');
      const commandLine = readFileSync(`/proc/${child.pid}/cmdline`, 'utf8');
      child.kill('SIGINT');
      await once(child, 'close');
      expect(commandLine.replaceAll('\0', '')).toBe('orchestrate');
    },
  );
});

describe('signals and streams', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s ends status --watch with %i; every line before is one object', async (signal, exit) => {
    const child = start('status', '--watch', '--json');
    const lines: string[] = [];
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => lines.push(line));
    await until('the first line', () => lines.length > 0);
    child.kill(signal);
    const [code] = await once(child, 'close');
    expect(code).toBe(exit);
    for (const line of lines) expect((JSON.parse(line) as StatusDocument).phase).toBe('created');
  });

  it('a reader that leaves ends what is only watched, quietly', async () => {
    const child = start('status', '--watch', '--json');
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    child.stdout?.destroy();
    const [code] = await once(child, 'close');
    expect([code, stderr]).toEqual([0, '']);
  });

  it('a metrics address in use is an error with a code, where it was asked for', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    try {
      const ended = await command('run', '--json', '--metrics-listen', `127.0.0.1:${port}`);
      expect([ended.exit, ended.json<Failed>().error.code]).toEqual([1, 'METRICS_LISTEN']);
      expect(ended.stderr).toContain('--metrics-listen');
    } finally {
      taken.close();
    }
  });
});

describe('migrate', () => {
  const names = ['056-create-org-tables', '057-migrate-user-settings'];
  const applied = (document: { migrations: { name: string; applied_at: string | null }[] }) =>
    document.migrations.filter((m) => m.applied_at !== null).map((m) => m.name);

  it('up applies what is pending, once; --to and status say what remains', async () => {
    const first = await command('migrate', 'up', '--to', '056', '--json');
    expect([first.exit, first.json()]).toMatchObject([
      0,
      { action: 'up', side: 'green', changed: [names[0]] },
    ]);
    const second = await command('migrate', 'up', '--json');
    expect(second.json()).toMatchObject({ changed: [names[1]] });
    const again = await command('migrate', 'up', '--json');
    expect([again.exit, again.json()]).toMatchObject([0, { changed: [] }]);
    expect(applied((await command('migrate', 'status', '--json')).json())).toEqual(names);
    const found = await rows(
      pair.green.urls.superuser,
      `SELECT to_regclass('public.org_user') IS NOT NULL AS there`,
    );
    expect(found).toEqual([{ there: true }]);
  });

  it('down is refused where it would lose the only copy: 3', async () => {
    const ended = await command('migrate', 'down', '--to', '055', '--json');
    expect([ended.exit, ended.json<Failed>().error.code]).toEqual([3, 'MIGRATION_REFUSED']);
    expect(applied((await command('migrate', 'status', '--json')).json())).toEqual(names);
  });

  it('an unknown revision: 3, and which there are', async () => {
    const ended = await command('migrate', 'up', '--to', '099', '--json');
    expect(ended.exit).toBe(3);
    expect(ended.json<Failed>().error.expected).toContain(names[1]);
  });

  it('down without --to is a usage error', async () => {
    const ended = await command('migrate', 'down', '--json');
    expect([ended.exit, ended.json<Failed>().error.code]).toEqual([2, 'CONFIG_INVALID']);
  });
});

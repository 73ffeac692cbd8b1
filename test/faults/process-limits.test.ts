/** A machine that has no room, no file descriptors or no reader left: every end has a code, and nothing is lost. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CATALOGUE, type ErrorCode } from '../../orchestrator/errors/catalogue.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { PROGRAM } from '../support/program.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { requireTool } from '../support/tool.ts';
import { until } from '../support/until.ts';

let scratch = '';
let pair: Pair;
let j: Journey;
const started: Running[] = [];
const children: ChildProcess[] = [];

beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'process-limits-'));
  pair = await freshPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 100, seed: 'limits' }));
  j = journey(pair);
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const one of started) one.kill('SIGKILL');
  await Promise.all(started.splice(0).map((one) => one.ended));
  await pair.drop();
  rmSync(scratch, { recursive: true, force: true });
});

const environment = () => ({
  PATH: process.env['PATH'] ?? '',
  HOME: process.env['HOME'] ?? '/',
  NO_COLOR: '1',
  ORCHESTRATE_MIGRATION: `on-${pair.green.database.replaceAll('_', '-')}`,
  ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
  ORCHESTRATE_GREEN_URL: pair.green.urls.sync,
  ORCHESTRATE_METRICS_LISTEN: '127.0.0.1:0',
});

/** The program in a shell, which limits it and says where its streams go. */
function shell(script: string): ChildProcess {
  const child = spawn('bash', ['-c', script, 'bash', process.execPath, PROGRAM], {
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  return child;
}

async function said(child: ChildProcess): Promise<{ exit: number | null; stdout: string; stderr: string }> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [exit] = (await once(child, 'close')) as [number | null];
  return { exit, stdout, stderr };
}

/** Blue and green are as before anything was started. */
async function nothingChanged(): Promise<void> {
  for (const side of ['blue', 'green'] as const) {
    const [found] = await rows(
      pair[side].urls.superuser,
      `SELECT to_regnamespace('orchestrator') AS control,
              (SELECT count(*)::integer FROM pg_publication) AS publications,
              (SELECT count(*)::integer FROM pg_replication_slots WHERE database = current_database()) AS slots`,
    );
    expect(found).toEqual({ control: null, publications: 0, slots: 0 });
  }
}

async function follows(language: string): Promise<void> {
  await execute(pair.blue.urls.app, `UPDATE user_settings SET language = '${language}' WHERE id = 7`);
  await until(
    'green to follow',
    async () => {
      const found = await rows<{ language: string }>(
        pair.green.urls.superuser,
        'SELECT language FROM settings WHERE id = 7',
      ).catch(() => []);
      return found[0]?.language === language;
    },
    90_000,
  );
}

/** A known code at the head of what was said, and no trace of a stack. */
function isCoded(stderr: string): ErrorCode {
  const code = /^([A-Z_]{4,}) {2}/m.exec(stderr)?.[1] as ErrorCode | undefined;
  expect([stderr, code !== undefined && code in CATALOGUE, /^\s+at .*[(/]/m.test(stderr)]).toEqual([
    stderr,
    true,
    false,
  ]);
  return code as ErrorCode;
}

describe('nobody reads', () => {
  it('status --watch | head -1 ends, without a word', async () => {
    const ended = await said(shell('"$@" status --watch --json | head -1; echo "${PIPESTATUS[0]}"'));
    const [line = '', exit] = ended.stdout.trim().split('\n');
    expect([exit, ended.stderr, JSON.parse(line)]).toMatchObject(['0', '', { phase: 'created' }]);
  });

  it('run goes on when both of its readers leave, and when it never had any', async () => {
    const left = spawn(process.execPath, [PROGRAM, 'run'], { env: environment(), stdio: 'pipe' });
    children.push(left);
    await once(left.stderr, 'data');
    left.stdout.destroy();
    left.stderr.destroy();
    await follows('aa');
    expect([left.exitCode, left.signalCode]).toEqual([null, null]);
    left.kill('SIGTERM');
    expect(await once(left, 'exit')).toEqual([143, null]);

    const closed = shell('exec "$@" run <&- >&- 2>&-');
    await follows('bb');
    closed.kill('SIGTERM');
    expect(await once(closed, 'exit')).toEqual([143, null]);
  });
});

describe('no room', () => {
  const FULL = '/dev/full';

  it.skipIf(!existsSync(FULL))(
    'a result that cannot be written is an error, and says what the command did',
    async () => {
      for (const args of ['status --json', 'status', '--help', 'config show', 'plan --no-sample']) {
        const ended = await said(shell(`"$@" ${args} >${FULL}`));
        expect([args, ended.exit, isCoded(ended.stderr)]).toEqual([args, 1, 'CANNOT_WRITE']);
      }
      // An error stays the error that it is.
      const usage = await said(shell(`"$@" status --max-lag nonsense --json >${FULL}`));
      expect(usage.exit).toBe(2);
      await nothingChanged();
    },
  );

  it.skipIf(!existsSync(FULL))('a log that cannot be written stops nothing', async () => {
    const runner = shell(`exec "$@" run --log-level debug >${FULL} 2>${FULL}`);
    await follows('cc');
    expect(runner.exitCode).toBe(null);
    runner.kill('SIGTERM');
    const [exit] = (await once(runner, 'exit')) as [number | null];
    expect(exit).toBe(143);
  });

  it.skipIf(!existsSync(FULL))('a report that cannot be written is an error, with the verdict', async () => {
    const report = join(scratch, 'report');
    mkdirSync(report);
    symlinkSync(FULL, join(report, 'report.md'));
    const ended = await said(
      shell(
        `ORCHESTRATE_BLUE_URL= ORCHESTRATE_GREEN_URL= "$@" rehearse --embedded --users 50 --rate 20 --soak 300ms --report '${report}'`,
      ),
    );
    expect([ended.exit, ended.stderr]).toEqual([1, expect.stringContaining('CANNOT_WRITE')]);
    expect(ended.stderr).toContain('the rehearsal itself passed');
    isCoded(ended.stderr.slice(ended.stderr.indexOf('CANNOT_WRITE')));
  });
});

describe('no file descriptors', () => {
  it('ends with a code however few there are, and changes nothing by halves', async () => {
    const exits = new Set<number | null>();
    for (const limit of [18, 20, 22, 24, 26, 28, 32, 36, 40]) {
      const ended = await said(shell(`ulimit -n ${limit}; exec "$@" preflight --json`));
      exits.add(ended.exit);
      if (ended.exit !== 0) isCoded(ended.stderr);
    }
    expect([...exits]).toContain(1);
    await nothingChanged();
  });

  const prlimit = requireTool('prlimit', 'apt-get install util-linux');
  it.skipIf(!prlimit.found)('a runner that may open no more goes on when it may again', async () => {
    if (!prlimit.found) return;
    const limit = (pid: number | undefined, files: string) =>
      execFileSync(prlimit.path, ['--pid', String(pid), `--nofile=${files}:`]);
    const runner = j.run();
    started.push(runner);
    await j.ready(runner);
    limit(runner.process.pid, '10');
    await rows(
      pair.green.urls.superuser,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name LIKE 'orchestrate/apply-%'`,
    );
    await until('the stream to meet the limit', () => runner.stderr().includes('OUT_OF_FILES'), 60_000).catch(
      (error: unknown) => {
        throw new Error(`${runner.process.exitCode} ${runner.stderr().slice(-3000)}`, { cause: error });
      },
    );
    limit(runner.process.pid, '1024');
    await follows('dd');
    expect(runner.process.exitCode).toBe(null);
  });
});

describe('the metrics listener', () => {
  it('an address in use: a code, and nothing was changed', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    try {
      const ended = await j.command('run', '--metrics-listen', `127.0.0.1:${port}`);
      expect([ended.exit, isCoded(ended.stderr)]).toEqual([1, 'METRICS_LISTEN']);
      await nothingChanged();
    } finally {
      taken.close();
    }
  });

  it('is bounded: hundreds of connections, and silent ones, take nothing from the runner', async () => {
    const runner = j.run();
    started.push(runner);
    await j.ready(runner);
    const port = Number(/metrics are served.* port=(\d+)/.exec(runner.stderr())?.[1]);
    const sockets: Socket[] = [];
    try {
      for (let n = 0; n < 400; n += 1) {
        const socket = connect(port, '127.0.0.1');
        // Who does not read what comes does not see the end either.
        socket.on('error', () => {}).resume();
        socket.on('connect', () => socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: '));
        sockets.push(socket);
      }
      await until(
        'the listener to turn most of them away',
        () => sockets.filter((s) => s.closed).length >= 360,
      );
      await follows('ee');
      // They say nothing more, and are let go in time; then a scrape has its place again.
      await until('the silent ones to be let go', () => sockets.every((s) => s.closed), 60_000);
      expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(200);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadSettings } from '../../orchestrator/config/load.ts';
import { nearest } from '../../orchestrator/config/nearest.ts';
import { givenLimits } from '../../orchestrator/config/settings.ts';
import { environmentName, OPTION_NAMES, optionOf } from '../../orchestrator/config/tree.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from '../../orchestrator/config/units.ts';
import { OrchestrateError } from '../../orchestrator/errors/failure.ts';
import { endpointsOf } from '../../orchestrator/pg/endpoints.ts';

let scratch = '';
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'config-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
}

/** @returns what the error says, all of it. */
function refusal(flags: Record<string, unknown>, environment: Record<string, string> = {}): string {
  const caught: unknown[] = [];
  try {
    loadSettings({ flags, environment });
  } catch (error) {
    caught.push(error);
  }
  expect(caught).toEqual([expect.any(OrchestrateError)]);
  const [error] = caught as [OrchestrateError];
  expect(error.code).toBe('CONFIG_INVALID');
  return JSON.stringify(error.toDocument());
}

describe('units', () => {
  it.each([
    ['250ms', 250],
    ['10s', 10_000],
    ['1.5m', 90_000],
    ['1h', 3_600_000],
    ['24d', 2_073_600_000],
  ])('%s is %i ms', (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each(['', '10', '10 seconds', '-1s', '1e3s', '25d', 's', '99999999999s'])('%s is no duration', (text) =>
    expect(parseDuration(text)).toBeUndefined(),
  );

  it.each([
    ['16MiB', 16_777_216n],
    ['512KiB', 524_288n],
    ['4096', 4_096n],
    ['0', 0n],
  ])('%s is %i bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(['16MB', '-1', '1.5MiB', 'MiB'])('%s is no size', (text) =>
    expect(parseSize(text)).toBeUndefined(),
  );

  it('prints what it reads', () => {
    for (const text of ['10s', '30m', '1h', '24d', '1500ms', '0ms'])
      expect(formatDuration(parseDuration(text) ?? -1)).toBe(text);
    for (const text of ['16MiB', '1000B', '0B', '1GiB'])
      expect(formatSize(parseSize(text) ?? -1n)).toBe(text);
  });
});

describe('precedence', () => {
  it('has the documented defaults', () => {
    const s = loadSettings({ flags: {}, environment: {} });
    expect(s).toMatchObject({
      migration: 'user-settings-org',
      urls: { blue: null, green: null },
      schemas: { source: 'public', org: 'public' },
      freezeBudgetMs: 10_000,
      maxLagBytes: 16_777_216n,
      maxSweepAgeMs: 3_600_000,
      acceptParked: 0,
      timeoutMs: 60_000,
      sweepIntervalMs: 1_800_000,
      maxCopyBytesPerSecond: null,
      copyPause: { transactionAgeMs: null, retainedWalBytes: null, replicaLagBytes: null },
      truncate: 'apply',
      metricsListen: { host: '127.0.0.1', port: 9187 },
      traffic: { driver: 'none' },
      output: 'table',
    });
    expect(givenLimits(s)).toEqual({});
  });

  it('takes flags over environment over file over defaults, option by option', () => {
    const config = file('a.yaml', 'max-lag: 1MiB\nfreeze-budget: 1s\nmax-sweep-age: 1m\n');
    const s = loadSettings({
      flags: { config, 'max-lag': '3MiB' },
      environment: { ORCHESTRATE_MAX_LAG: '2MiB', ORCHESTRATE_FREEZE_BUDGET: '2s' },
    });
    expect([s.maxLagBytes, s.freezeBudgetMs, s.maxSweepAgeMs, s.sweepIntervalMs]).toEqual([
      3_145_728n,
      2_000,
      60_000,
      1_800_000,
    ]);
    expect([s.origins['max-lag'], s.origins['freeze-budget'], s.origins['max-sweep-age']]).toEqual([
      'flag',
      'environment',
      'file',
    ]);
    expect(givenLimits(s)).toEqual({ maxLagBytes: '3145728', freezeBudgetMs: 2_000, maxSweepAgeMs: 60_000 });
  });

  it('reads JSON, and numbers and booleans of a file', () => {
    const config = file('a.json', '{"copy-workers": 3, "compat-view": true, "accept-parked": "all"}');
    const s = loadSettings({ flags: {}, environment: { ORCHESTRATE_CONFIG: config } });
    expect([s.copyWorkers, s.compatView, s.acceptParked]).toEqual([3, true, 'all']);
  });

  it('every option can come from its variable', () => {
    for (const name of OPTION_NAMES) {
      const option = optionOf(name);
      const text =
        option.default ?? { size: '1MiB', duration: '1s', count: '1' }[option.kind as string] ?? 'x';
      if (name === 'config') continue;
      const s = loadSettings({ flags: {}, environment: { [environmentName(name)]: text } });
      expect([name, s.origins[name]]).toEqual([name, 'environment']);
    }
  });

  it('ignores variables that only look like ours, and empty ones', () => {
    const s = loadSettings({
      flags: {},
      environment: {
        ORCHESTRATE_PORT: 'tcp://10.0.0.1:9187',
        ORCHESTRATE_SERVICE_HOST: '10.0.0.1',
        ORCHESTRATE_PORT_9187_TCP_ADDR: '10.0.0.1',
        ORCHESTRATE_MAX_LAG: '',
      },
    });
    expect(s.maxLagBytes).toBe(16_777_216n);
  });

  it('takes the URL of a side from the highest layer that names it, as text or file', () => {
    const path = file('blue.url', 'postgres://sync:from-file@127.0.0.1:1/app\n');
    const environment = {
      ORCHESTRATE_BLUE_URL_FILE: path,
      ORCHESTRATE_GREEN_URL: 'postgres://sync@127.0.0.1:2/app',
    };
    const fromEnvironment = endpointsOf(loadSettings({ flags: {}, environment }));
    expect([fromEnvironment.blue.port, fromEnvironment.blue.password, fromEnvironment.green.port]).toEqual([
      1,
      'from-file',
      2,
    ]);
    const flags = { 'blue-url': 'postgres://sync@127.0.0.1:3/app' };
    expect(endpointsOf(loadSettings({ flags, environment })).blue.port).toBe(3);
    // A rotated secret is read anew.
    const settings = loadSettings({ flags: {}, environment });
    writeFileSync(path, 'postgres://sync:rotated@127.0.0.1:1/app');
    expect(endpointsOf(settings).blue.password).toBe('rotated');
  });
});

describe('refusals', () => {
  it('names every problem at once, with its place and the fix', () => {
    const config = file(
      'bad.yaml',
      'max-lgg: 1MiB\nfreeze_budget: 3s\nblue-url-file: [1]\nsweep-interval: 30\n',
    );
    const text = refusal({ config, 'copy-workers': '0' }, { ORCHESTRATE_TRAFFIC: 'haproxy' });
    for (const part of [
      '--copy-workers',
      'a whole number from 1 to 64',
      'ORCHESTRATE_TRAFFIC',
      'none, command, pgbouncer, kubernetes',
      `max-lgg in ${config}`,
      'rename it to max-lag',
      'rename it to freeze-budget',
      `blue-url-file in ${config}`,
      `sweep-interval in ${config}`,
      'a duration with its unit',
    ])
      expect(text).toContain(part);
    expect(text).toContain('has 6 problems');
  });

  it.each([
    ['a missing file', { config: '/no/such/file' }, 'ENOENT'],
    ['broken YAML', { config: 'broken' }, 'at line 2'],
    ['a list', { config: 'list' }, 'a list'],
    ['a key twice', { config: 'twice' }, 'DUPLICATE_KEY at line 2'],
    ['a bomb of aliases', { config: 'bomb' }, 'aliases'],
    ['traffic command without a command', { traffic: 'command' }, 'add --traffic-command'],
    ['both forms of a URL', { 'blue-url': 'postgres://u@h/d', 'blue-url-file': '/x' }, 'one of them'],
    ['a flag given twice', { 'max-lag': ['1MiB', '2MiB'] }, 'more than one value'],
    ['a port too large', { 'metrics-listen': '127.0.0.1:99999' }, 'host:port'],
    ['a flag without value', { migration: '' }, 'empty text'],
  ])('%s', (_what, flags: Record<string, unknown>, part) => {
    const texts: Record<string, string> = {
      broken: 'max-lag: 1MiB\n: : :\n\t- x',
      list: '- 1\n- 2\n',
      twice: 'max-lag: 1MiB\nmax-lag: 2MiB\n',
      bomb: `a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c]\n`,
    };
    const text = texts[String(flags['config'])];
    const given = text === undefined ? flags : { config: file(`${String(flags['config'])}.yaml`, text) };
    expect(refusal(given)).toContain(part);
  });

  it.each([
    ['the same labels in another order', 'app=db,side=x', 'side=x,app=db'],
    ['labels of blue among those of green', 'app=db', 'app=db,side=green'],
    ['labels of green among those of blue', 'app=db,side=blue', 'app=db'],
  ])('kubernetes: %s would never be switched', (_what, blue, green) => {
    const traffic = { traffic: 'kubernetes', 'kubernetes-service': 'shop/db' };
    expect(refusal({ ...traffic, 'kubernetes-blue': blue, 'kubernetes-green': green })).toContain(
      'the other way round',
    );
  });

  it('never repeats a secret', () => {
    const secret = 'hunter2-hunter2';
    const config = file('leak.yaml', `blue_url: postgres://u:${secret}@h/d\n`);
    expect(refusal({ config })).not.toContain(secret);
    expect(refusal({ 'max-lag': `postgres://u:${secret}@h/d` })).not.toContain(secret);
    expect(refusal({ 'blue-url': ['postgres://a:b@h/d', `postgres://u:${secret}@h/d`] })).not.toContain(
      secret,
    );
    const s = loadSettings({ flags: { 'blue-url': `postgres://u:${secret}@h/d` }, environment: {} });
    const { blue } = s.urls;
    if (blue?.kind !== 'url') throw new Error('a URL was given');
    expect(JSON.stringify(s.urls) + inspect(s, { depth: 9 }) + blue.url.toString()).not.toContain(secret);
    expect(blue.url.reveal()).toContain(secret);
  });

  it('names both databases when neither is given', () => {
    const settings = loadSettings({ flags: {}, environment: {} });
    expect(() => endpointsOf(settings)).toThrow(
      /blue database is not named; the green database is not named/,
    );
  });
});

it('the nearest name', () => {
  expect(nearest('maxLag', OPTION_NAMES)).toBe('max-lag');
  expect(nearest('freez-budgte', OPTION_NAMES)).toBe('freeze-budget');
  expect(nearest('utterly-different', OPTION_NAMES)).toBeUndefined();
});

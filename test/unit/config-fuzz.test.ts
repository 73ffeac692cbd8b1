/**
 * Configuration that nobody would write: files, flags, variables and connection strings, put together and broken at
 * random. Every case ends with success or a coded usage error, tells no secret and has no stack trace. The seed of a
 * failure is in its name: ORCHESTRATE_FUZZ_SEED repeats it, ORCHESTRATE_FUZZ_CASES makes more.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../orchestrator/cli/commands.ts';
import { loadSettings } from '../../orchestrator/config/load.ts';
import { environmentName, OPTION_NAMES, type OptionName, optionOf } from '../../orchestrator/config/tree.ts';
import { asFailure } from '../../orchestrator/errors/as-failure.ts';
import { CATALOGUE, type ErrorCode } from '../../orchestrator/errors/catalogue.ts';
import { endpointOf } from '../../orchestrator/pg/endpoints.ts';
import { SIDES } from '../../orchestrator/pg/side.ts';
import { type Outcome, orchestrate } from '../support/in-process.ts';
import { oneOf, type Random, seeded } from '../support/seeded.ts';

const CASES = Number(process.env['ORCHESTRATE_FUZZ_CASES'] ?? 2_000);
const COMMAND_LINES = Math.ceil(CASES / 20);
const SEED = Number(process.env['ORCHESTRATE_FUZZ_SEED'] ?? 1);
const SECRET = 'hush-Zq7!vault';

let scratch = '';
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'fuzz-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const ODD = [
  '',
  ' ',
  '\t',
  'null',
  '~',
  '-1',
  '0',
  '1e309',
  'NaN',
  '9'.repeat(400),
  '0x10',
  '١٢',
  '🐘',
  'a\u0000b',
  'a\nb',
  'a"b\'; --',
  '%',
  '%zz',
  '../../etc',
  '{}',
  '[]',
  '${HOME}',
  'true',
  '--json',
  '__proto__',
  'constructor',
  'x'.repeat(5_000),
];
const GOOD: Readonly<Record<string, string>> = {
  text: 'a name',
  path: '/no/such/file',
  boolean: 'true',
  count: '3',
  'count-or-all': 'all',
  duration: '10s',
  size: '16MiB',
  listen: '[::1]:9187',
};

/** A connection string with the secret in it, whole or broken somewhere. */
function connection(next: Random): string {
  const password = oneOf(next, [SECRET, encodeURIComponent(SECRET), `${SECRET}%`, `@:/${SECRET}`]);
  const whole = oneOf(next, [
    `postgres://u:${password}@127.0.0.1:1/d`,
    `postgresql://u:${password}@[::1]:1/d?sslmode=disable`,
    `postgres://u:${password}@h/d?sslmode=require`,
    `postgres://u:${password}@/d`,
    `postgres://:${password}@h:99999/d`,
    `mysql://u:${password}@h/d`,
    `host=h user=u password=${password} dbname=d`,
    `postgres://u:${password}@h/d?password=${password}`,
    `postgres://u:${password}@h/d?sslrootcert=/no/such`,
    `postgres://u:${password}@${'h'.repeat(300)}/d`,
  ]);
  return next(4) === 0 ? broken(next, whole) : whole;
}

/** One character of the tail taken out, doubled or replaced; the password stays whole, so that it can be looked for. */
function broken(next: Random, text: string): string {
  const from = Math.max(text.lastIndexOf('@'), text.includes('@') ? 0 : text.lastIndexOf('=')) + 1;
  const at = from + next(Math.max(1, text.length - from));
  return text.slice(0, at) + oneOf(next, ['', '%', '[', '\\', ' ', '#', '??']) + text.slice(at + next(2));
}

function valueFor(next: Random, name: OptionName): string {
  const option = optionOf(name);
  if (option.kind === 'secret') return next(8) === 0 ? oneOf(next, ODD) : connection(next);
  const kind = next(10);
  if (kind < 5)
    return option.kind === 'choice' ? oneOf(next, option.choices ?? ['']) : (GOOD[option.kind] ?? '1');
  // A connection string in the wrong place is how secrets get into messages.
  return kind === 5 ? connection(next) : oneOf(next, ODD);
}

const misspelt = (next: Random, name: string): string => {
  const at = next(name.length);
  return name.slice(0, at) + oneOf(next, ['', 'x', '-', name[at] ?? '']) + name.slice(at + 1);
};

function configFile(next: Random, path: string): void {
  const entries = Array.from({ length: next(6) }, () => {
    const option = oneOf(next, OPTION_NAMES);
    const name = next(5) === 0 ? misspelt(next, option) : option;
    return [name, valueFor(next, option)] as const;
  });
  const text = oneOf(next, [
    () => entries.map(([n, v]) => `${n}: ${JSON.stringify(v)}`).join('\n'),
    () => entries.map(([n, v]) => `${n}: ${v}`).join('\n'),
    () => JSON.stringify(Object.fromEntries(entries)),
    () => JSON.stringify({ outer: Object.fromEntries(entries) }),
    () => JSON.stringify(entries),
    () => `a: &a [*a]\n${entries.map(([n]) => `${n}: *a`).join('\n')}`,
    () => `${'['.repeat(2_000)}`,
    () => '\u0000\u0001\u0002',
    () => '%YAML 9.9\n---\n!!js/function x: 1',
  ])();
  writeFileSync(path, text);
}

function invent(
  next: Random,
  path: string,
): { args: readonly string[]; environment: Record<string, string> } {
  const environment: Record<string, string> = {};
  for (let n = next(4); n > 0; n -= 1) {
    const option = oneOf(next, OPTION_NAMES);
    environment[next(6) === 0 ? `${environmentName(option)}X` : environmentName(option)] = valueFor(
      next,
      option,
    );
  }
  const args: string[] =
    next(3) > 0 ? ['config', oneOf(next, ['show', 'validate'])] : [oneOf(next, COMMANDS).name];
  for (let n = next(4); n > 0; n -= 1) {
    const option = oneOf(next, OPTION_NAMES);
    const flag = `--${next(8) === 0 ? misspelt(next, option) : option}`;
    const value = valueFor(next, option);
    args.push(...(next(2) === 0 ? [`${flag}=${value}`] : next(10) === 0 ? [flag] : [flag, value]));
  }
  if (next(2) === 0) {
    configFile(next, path);
    args.push('--config', path);
  }
  // Commands that would go on to work are kept from it by a side that is not named.
  if (args[0] !== 'config') {
    delete environment[environmentName('green-url')];
    delete environment[environmentName('green-url-file')];
    args.push('--green-url', oneOf(next, ['none', 'http://h/d', 'postgres://u@/d']));
  }
  if (next(3) === 0) args.push('--json');
  return { args, environment };
}

/** What is wrong with how a case ended; undefined when nothing is. */
function complaint(ended: Outcome): string | undefined {
  const text = ended.stdout + ended.stderr;
  if (ended.exit !== 0 && ended.exit !== 2) return `exit code ${ended.exit}`;
  const code = /^(?: {4}"code": ")?([A-Z_]{4,})\b/m.exec(text)?.[1] as ErrorCode | undefined;
  if (ended.exit === 2 && (code === undefined || CATALOGUE[code]?.exit !== 2))
    return 'no code of the catalogue';
  if (/^\s+at .*[(/]/m.test(text)) return 'a stack trace';
  for (const form of [SECRET, encodeURIComponent(SECRET)]) if (text.includes(form)) return 'a secret';
  return undefined;
}

/** The same flags without a command line: most cases are about what stands in them, and this is quicker. */
function load(args: readonly string[], environment: Record<string, string>): Outcome {
  const flags: Record<string, unknown> = {};
  for (const name of OPTION_NAMES) {
    const at = args.indexOf(`--${name}`);
    const inline = args.find((a) => a.startsWith(`--${name}=`));
    if (at >= 0 || inline !== undefined) flags[name] = inline?.slice(name.length + 3) ?? args[at + 1] ?? '';
  }
  try {
    const settings = loadSettings({ flags, environment });
    for (const side of SIDES) if (settings.urls[side] !== null) endpointOf(settings, side);
    return { ...NOTHING, stdout: inspect(settings) + JSON.stringify(settings.shown) };
  } catch (error) {
    const told = asFailure(error);
    return {
      ...NOTHING,
      exit: CATALOGUE[told.code].exit,
      stderr: JSON.stringify(told.toDocument(), null, 4),
    };
  }
}
const NOTHING: Outcome = {
  exit: 0,
  stdout: '',
  stderr: '',
  json: () => {
    throw new Error('no document');
  },
};

describe('configuration made at random', () => {
  const run = async (first: number, cases: number, end: typeof orchestrate | typeof load) => {
    const exits = new Map<number, number>();
    for (let seed = first; seed < first + cases; seed += 1) {
      const { args, environment } = invent(seeded(seed), join(scratch, 'orchestrate.yaml'));
      const ended = await end(args, environment);
      const about = `seed ${seed}: ${JSON.stringify({ args, environment }).slice(0, 2_000)}`;
      expect(complaint(ended), about).toBe(undefined);
      exits.set(ended.exit, (exits.get(ended.exit) ?? 0) + 1);
    }
    // Both ends have to be met, or the generator makes nothing but nonsense.
    expect(exits.get(0)).toBeGreaterThan(cases / 100);
    expect(exits.get(2)).toBeGreaterThan(cases / 3);
  };

  it(`ends in ${CASES} cases with settings or a coded usage error, and tells no secret (seed ${SEED})`, async () => {
    await run(SEED, CASES, load);
  }, 300_000);

  it(`ends so for ${COMMAND_LINES} whole command lines (seed ${SEED})`, async () => {
    await run(SEED, COMMAND_LINES, orchestrate);
  }, 300_000);

  it('has a complaint about each thing it looks for', () => {
    const ended = (exit: number, stderr: string): Outcome => ({ ...NOTHING, exit, stderr });
    expect(complaint(ended(2, 'CONFIG_INVALID  max-lag cannot be used'))).toBeUndefined();
    expect(complaint(ended(1, 'INTERNAL'))).toBe('exit code 1');
    expect(complaint(ended(2, 'oh'))).toBe('no code of the catalogue');
    expect(complaint(ended(2, 'CONFIG_INVALID\n    at load (/x/load.ts:1)'))).toBe('a stack trace');
    expect(complaint(ended(2, `CONFIG_INVALID ${encodeURIComponent(SECRET)}`))).toBe('a secret');
  });
});

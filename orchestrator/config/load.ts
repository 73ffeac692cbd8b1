import { failure } from '../errors/failure.ts';
import { rememberUrl } from '../log/redact.ts';
import { readConfigFile } from './file.ts';
import { nearest } from './nearest.ts';
import { describeProblems, type Problem } from './problem.ts';
import { Secret } from './secret.ts';
import type { Origin, Settings, Traffic, UrlSource } from './settings.ts';
import { shown } from './shown.ts';
import { environmentName, expectation, OPTION_NAMES, type OptionName, optionOf } from './tree.ts';
import { type Values, validateLayer } from './validate.ts';

export interface Sources {
  /** Options given as flags, by name. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

type Layer = { readonly origin: Origin; readonly values: Values };

/**
 * Puts the settings together: flags over environment over file over defaults. Names that only look like ours in the
 * environment are ignored (Kubernetes injects `ORCHESTRATE_*` for a Service of that name); in a file they are refused.
 * @throws OrchestrateError CONFIG_INVALID that names every problem at once, with where, what was expected and the fix.
 */
export function loadSettings(sources: Sources): Settings {
  const problems: Problem[] = [];
  const flags = check('flag', sources.flags, (name) => `--${name}`, problems);
  const variables: Record<string, unknown> = {};
  for (const name of OPTION_NAMES) {
    const text = sources.environment[environmentName(name)];
    // A variable that is set to nothing is how a pod template says "not set".
    if (text !== undefined && text !== '') variables[name] = text;
  }
  const environment = check('environment', variables, environmentName, problems);
  const path = flags.values.config ?? environment.values.config;
  const file = path === undefined ? [] : [fromFile(path, problems)];
  const defaults: Layer = {
    origin: 'default',
    values: validateLayer(
      Object.fromEntries(
        OPTION_NAMES.flatMap((n) => (optionOf(n).default === undefined ? [] : [[n, optionOf(n).default]])),
      ),
    ).values,
  };
  const layers = [flags, environment, ...file, defaults];
  const settings = assemble(layers, problems);
  if (problems.length > 0) throw invalid(problems);
  return settings;
}

function check(
  origin: Origin,
  given: Readonly<Record<string, unknown>>,
  where: (name: OptionName) => string,
  problems: Problem[],
): Layer {
  const { values, bad } = validateLayer(given);
  for (const name of bad) problems.push(wrongValue(name, where(name), given[name]));
  return { origin, values };
}

function wrongValue(name: OptionName, path: string, value: unknown): Problem {
  const option = optionOf(name);
  return {
    path,
    expected: expectation(option),
    found: option.kind === 'secret' ? 'something else' : describeValue(value),
    fix: option.default === undefined ? 'correct it or leave it out' : `correct it, e.g. ${option.default}`,
  };
}

/** A value as an error may show it: what it is, and its text when it is short and has no credentials. */
function describeValue(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'more than one value';
  if (typeof value === 'object') return 'nested keys';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  if (text.trim() === '') return 'empty text';
  if (/:\/\/|password/i.test(text)) return 'text that looks like a URL or a password';
  return text.length > 40 ? `${JSON.stringify(text.slice(0, 40))}…` : JSON.stringify(text);
}

function fromFile(path: string, problems: Problem[]): Layer {
  const read = readConfigFile(path);
  if ('problem' in read) {
    problems.push(read.problem);
    return { origin: 'file', values: {} };
  }
  const where = (name: string) => `${name} in ${path}`;
  const { values, bad, unknown } = validateLayer(read.values);
  for (const name of bad) problems.push(wrongValue(name, where(name), read.values[name]));
  const allowed = OPTION_NAMES.filter((name) => optionOf(name).notInFile !== true);
  for (const key of unknown) {
    const near = nearest(key, allowed);
    problems.push({
      path: where(key.slice(0, 60)),
      expected: near === undefined ? 'a known option' : `the option ${near}`,
      found: 'an unknown key',
      fix:
        near === undefined ? 'remove it; orchestrate run --help lists the options' : `rename it to ${near}`,
    });
  }
  for (const name of OPTION_NAMES)
    if (optionOf(name).notInFile === true && values[name] !== undefined) {
      problems.push({
        path: where(name),
        expected: 'options only',
        found: name,
        fix: `give --${name} as a flag`,
      });
      delete values[name];
    }
  return { origin: 'file', values };
}

/** Merges the layers and checks what depends on more than one option. */
function assemble(layers: readonly Layer[], problems: Problem[]): Settings {
  const merged: Values = {};
  const origins = {} as Record<OptionName, Origin>;
  for (const name of OPTION_NAMES) {
    const layer = layers.find((l) => l.values[name] !== undefined);
    origins[name] = layer?.origin ?? 'default';
    if (layer !== undefined) Object.assign(merged, { [name]: layer.values[name] });
  }
  const v = merged as Required<Values>;
  return {
    migration: v.migration,
    urls: { blue: url('blue', layers, problems), green: url('green', layers, problems) },
    schemas: { source: v['source-schema'], org: v['org-schema'] },
    environment: merged.environment ?? null,
    reason: merged.reason ?? null,
    freezeBudgetMs: v['freeze-budget'],
    maxLagBytes: v['max-lag'],
    maxSweepAgeMs: v['max-sweep-age'],
    acceptParked: v['accept-parked'],
    timeoutMs: v.timeout,
    sweepIntervalMs: v['sweep-interval'],
    copyWorkers: v['copy-workers'],
    maxSweepRowsPerSecond: merged['max-sweep-rate'] ?? null,
    maxCopyBytesPerSecond: merged['max-copy-rate'] === undefined ? null : Number(merged['max-copy-rate']),
    copyPause: {
      transactionAgeMs: merged['copy-pause-age'] ?? null,
      retainedWalBytes: merged['copy-pause-wal'] ?? null,
      replicaLagBytes: merged['copy-pause-lag'] ?? null,
    },
    truncate: v.truncate,
    backupConfirmed: v['backup-confirmed'],
    compatView: v['compat-view'],
    metricsListen: v['metrics-listen'] === 'off' ? null : v['metrics-listen'],
    traffic: traffic(merged, problems),
    output: v.output,
    logFormat: v['log-format'],
    logLevel: v['log-level'],
    origins,
    shown: Object.fromEntries(
      OPTION_NAMES.flatMap((name) => {
        const text = shown(name, merged);
        return text === undefined ? [] : [[name, text]];
      }),
    ),
  };
}

/** The URL of a side, from the first layer that names it, as text or as a file: not both in one layer. */
function url(side: 'blue' | 'green', layers: readonly Layer[], problems: Problem[]): UrlSource | null {
  for (const { values, origin } of layers) {
    const text = values[`${side}-url`];
    const path = values[`${side}-url-file`];
    if (text !== undefined && path !== undefined)
      problems.push({
        path: `${side}-url and ${side}-url-file (${origin})`,
        expected: 'one of them',
        found: 'both',
        fix: 'leave one of them out',
      });
    if (path !== undefined) return { kind: 'file', path };
    if (text !== undefined) {
      rememberUrl(text);
      return { kind: 'url', url: new Secret(text) };
    }
  }
  return null;
}

function traffic(values: Values, problems: Problem[]): Traffic {
  const driver = values.traffic ?? 'none';
  const needed = (
    name:
      | 'traffic-command'
      | 'pgbouncer-consoles'
      | 'pgbouncer-database'
      | 'pgbouncer-include'
      | 'kubernetes-service'
      | 'kubernetes-blue'
      | 'kubernetes-green',
  ) => {
    const value = values[name];
    if (value === undefined)
      problems.push({
        path: name,
        expected: `${name === 'traffic-command' ? 'a program' : 'a value'}, because traffic is ${driver}`,
        found: 'nothing',
        fix: `add --${name} ${name === 'traffic-command' ? 'CMD' : 'VALUE'}`,
      });
    return value ?? '';
  };
  const listed = (text: string) => text.split(',').map((part) => part.trim());
  const labels = (name: 'kubernetes-blue' | 'kubernetes-green') => {
    const pairs = listed(needed(name)).map((text) => text.split('=').map((part) => part.trim()));
    if (
      values[name] !== undefined &&
      pairs.some(([key, value, ...more]) => !key || !value || more.length > 0)
    )
      problems.push({
        path: name,
        expected: 'labels as KEY=VALUE, separated by commas',
        found: values[name],
        fix: `--${name} app=db,side=${name.slice('kubernetes-'.length)}`,
      });
    return Object.fromEntries(pairs.map(([key = '', value = '']) => [key, value]));
  };
  switch (driver) {
    case 'none':
      return { driver };
    case 'kubernetes': {
      const services = listed(needed('kubernetes-service')).map((text) => {
        const [namespace = '', name = '', ...more] = text.split('/');
        if (text !== '' && (namespace === '' || name === '' || more.length > 0))
          problems.push({
            path: 'kubernetes-service',
            expected: 'NAMESPACE/NAME',
            found: text,
            fix: '--kubernetes-service default/database',
          });
        return { namespace, name };
      });
      const selectors = { blue: labels('kubernetes-blue'), green: labels('kubernetes-green') };
      // A Service that leads to one side must not count as leading to the other: nothing would be switched.
      const within = (some: Readonly<Record<string, string>>, all: Readonly<Record<string, string>>) =>
        Object.entries(some).every(([key, value]) => all[key] === value);
      if (
        values['kubernetes-blue'] !== undefined &&
        values['kubernetes-green'] !== undefined &&
        (within(selectors.blue, selectors.green) || within(selectors.green, selectors.blue))
      )
        problems.push({
          path: 'kubernetes-green',
          expected: 'labels of which one is not among those of blue, and the other way round',
          found: values['kubernetes-green'],
          fix: '--kubernetes-green app=db,side=green',
        });
      return { driver, services, selectors, config: values['kubernetes-config'] ?? null };
    }
    case 'command':
      return { driver, command: needed('traffic-command') };
    case 'pgbouncer': {
      const consoles = listed(needed('pgbouncer-consoles'));
      const includes = listed(needed('pgbouncer-include'));
      for (const url of consoles) rememberUrl(url);
      if (includes.length > 1 && includes.length !== consoles.length)
        problems.push({
          path: 'pgbouncer-include',
          expected: `1 file, or ${consoles.length}: one for each console`,
          found: `${includes.length} files`,
          fix: 'name as many files as consoles',
        });
      return {
        driver,
        consoles: consoles.map((url) => new Secret(url)),
        database: needed('pgbouncer-database'),
        includes,
      };
    }
  }
}

function invalid(problems: readonly Problem[]): Error {
  const [first, ...rest] = problems as readonly [Problem, ...Problem[]];
  if (rest.length === 0)
    return failure('CONFIG_INVALID', {
      message: `${first.path} cannot be used`,
      expected: first.expected,
      found: first.found,
      fix: first.fix,
    });
  return failure('CONFIG_INVALID', {
    message: `the configuration has ${problems.length} problems:\n${describeProblems(problems)}`,
    expected: problems.map((p) => `${p.path}: ${p.expected}`).join('; '),
    found: problems.map((p) => `${p.path}: ${p.found}`).join('; '),
    fix: problems.map((p) => `${p.path}: ${p.fix}`).join('; '),
  });
}

/**
 * The one tree of configuration (STYLE 18): type, default and prose of every option, from which flags, environment
 * variables, configuration file, help and reference follow. Keep this file free of imports that cost time: `--help`
 * reads it.
 */
export type Kind =
  | 'text'
  | 'path'
  | 'secret'
  | 'boolean'
  | 'count'
  | 'count-or-all'
  | 'duration'
  | 'size'
  | 'choice'
  | 'listen';

export type Group = 'Connections' | 'Migration' | 'Limits' | 'Work' | 'Traffic' | 'Output';

export interface Option {
  readonly kind: Kind;
  readonly group: Group;
  readonly describe: string;
  /** As it would be typed; absent: not set unless given. */
  readonly default?: string;
  /** Of a choice. */
  readonly choices?: readonly string[];
  /** Of a count: the smallest and largest value. */
  readonly min?: number;
  readonly max?: number;
  /** Cannot stand in a configuration file. */
  readonly notInFile?: true;
}

export const OPTIONS = {
  'blue-url': {
    kind: 'secret',
    group: 'Connections',
    describe:
      'Connection to blue. Prefer the environment or --blue-url-file: a flag shows in the process list',
  },
  'blue-url-file': {
    kind: 'path',
    group: 'Connections',
    describe: 'File that holds the connection URL of blue, e.g. a mounted secret',
  },
  'green-url': {
    kind: 'secret',
    group: 'Connections',
    describe: 'Connection to green',
  },
  'green-url-file': {
    kind: 'path',
    group: 'Connections',
    describe: 'File that holds the connection URL of green',
  },
  config: {
    kind: 'path',
    group: 'Connections',
    notInFile: true,
    describe: 'Configuration file, YAML or JSON, with these options as keys',
  },
  migration: {
    kind: 'text',
    group: 'Migration',
    default: 'user-settings-org',
    describe: 'Name of the migration: in every lock, slot and label',
  },
  'source-schema': {
    kind: 'text',
    group: 'Migration',
    default: 'public',
    describe: 'Schema of user_settings on blue',
  },
  'org-schema': {
    kind: 'text',
    group: 'Migration',
    default: 'public',
    describe: 'Schema of the organisational model on green',
  },
  environment: {
    kind: 'text',
    group: 'Migration',
    describe: 'What these databases are; rehearsals refuse "production"',
  },
  reason: {
    kind: 'text',
    group: 'Migration',
    describe: 'Why this is done; kept in the journal',
  },
  'freeze-budget': {
    kind: 'duration',
    group: 'Limits',
    default: '10s',
    describe: 'Longest time without writes in a handover, counted from the pause of clients',
  },
  'max-lag': {
    kind: 'size',
    group: 'Limits',
    default: '16MiB',
    describe: 'Most WAL the standby may be behind when a handover begins',
  },
  'max-sweep-age': {
    kind: 'duration',
    group: 'Limits',
    default: '1h',
    describe: 'Oldest clean sweep a handover relies on',
  },
  'accept-parked': {
    kind: 'count-or-all',
    group: 'Limits',
    default: '0',
    describe: 'Most parked rows with which a handover may go on, or "all"',
  },
  timeout: {
    kind: 'duration',
    group: 'Limits',
    default: '60s',
    describe: 'How long a request waits to be taken up by the runner',
  },
  'sweep-interval': {
    kind: 'duration',
    group: 'Work',
    default: '30m',
    describe: 'Time between two full comparisons of both sides',
  },
  'max-sweep-rate': {
    kind: 'count',
    group: 'Work',
    min: 1,
    describe: 'Most rows a second that a scheduled comparison reads; unlimited unless given',
  },
  'copy-workers': {
    kind: 'count',
    group: 'Work',
    default: '2',
    min: 1,
    max: 64,
    describe: 'Connections to each side that copy and compare in parallel',
  },
  'max-copy-rate': {
    kind: 'size',
    group: 'Work',
    describe: 'Most bytes a second that the copy reads from blue; unlimited unless given',
  },
  'copy-pause-age': {
    kind: 'duration',
    group: 'Work',
    describe: 'The copy waits while blue has a transaction older than this; unlimited unless given',
  },
  'copy-pause-wal': {
    kind: 'size',
    group: 'Work',
    describe: 'The copy waits once its slot retains more WAL on blue; unlimited unless given',
  },
  'copy-pause-lag': {
    kind: 'size',
    group: 'Work',
    describe: 'The copy waits while another replica of blue is further behind; unlimited unless given',
  },
  truncate: {
    kind: 'choice',
    group: 'Work',
    choices: ['apply', 'refuse'],
    default: 'apply',
    describe: 'What a TRUNCATE on the serving side does: repeat it on the standby, or stop the sync',
  },
  'backup-confirmed': {
    kind: 'boolean',
    group: 'Work',
    default: 'false',
    describe: 'A backup of blue was made and a restore of it tried; until then preflight warns',
  },
  'compat-view': {
    kind: 'boolean',
    group: 'Work',
    default: 'false',
    describe: 'Keep an updatable view user_settings on green for the old application',
  },
  'metrics-listen': {
    kind: 'listen',
    group: 'Work',
    default: '127.0.0.1:9187',
    describe: 'Address of /metrics, /healthz and /readyz, or "off"',
  },
  traffic: {
    kind: 'choice',
    group: 'Traffic',
    choices: ['none', 'command', 'pgbouncer', 'kubernetes'],
    default: 'none',
    describe: "How clients are switched; on the runner's host",
  },
  'traffic-command': {
    kind: 'text',
    group: 'Traffic',
    describe: 'Program of --traffic command: called with check, pause, switch, resume or undo',
  },
  'pgbouncer-consoles': {
    kind: 'secret',
    group: 'Traffic',
    describe:
      'Admin consoles of --traffic pgbouncer, one URL an instance, separated by commas. Prefer the environment',
  },
  'pgbouncer-database': {
    kind: 'text',
    group: 'Traffic',
    describe: 'Database of --traffic pgbouncer, as its clients call it',
  },
  'pgbouncer-include': {
    kind: 'path',
    group: 'Traffic',
    describe:
      'File that pgbouncer takes in with %include, replaced by FILE.blue or FILE.green; one for all instances, or one for each, separated by commas',
  },
  'kubernetes-service': {
    kind: 'text',
    group: 'Traffic',
    describe: 'Service of --traffic kubernetes, as NAMESPACE/NAME; several are separated by commas',
  },
  'kubernetes-blue': {
    kind: 'text',
    group: 'Traffic',
    describe: 'Labels by which that Service selects blue, such as app=db,side=blue',
  },
  'kubernetes-green': {
    kind: 'text',
    group: 'Traffic',
    describe: 'Labels by which that Service selects green',
  },
  'kubernetes-config': {
    kind: 'path',
    group: 'Traffic',
    describe:
      "Kubeconfig of --traffic kubernetes; unless given, where kubectl looks, or the pod's service account",
  },
  output: {
    kind: 'choice',
    group: 'Output',
    choices: ['table', 'json'],
    default: 'table',
    describe: 'Form of the result on stdout; --json for short',
  },
  'log-format': {
    kind: 'choice',
    group: 'Output',
    choices: ['text', 'json'],
    default: 'text',
    describe: 'Form of the log on stderr',
  },
  'log-level': {
    kind: 'choice',
    group: 'Output',
    choices: ['debug', 'info', 'warn', 'error'],
    default: 'info',
    describe: 'Least severe line of the log that is printed',
  },
} as const satisfies Readonly<Record<string, Option>>;

export type OptionName = keyof typeof OPTIONS;
export const OPTION_NAMES = Object.keys(OPTIONS) as OptionName[];

/** The same tree, with the optional members visible. */
export function optionOf(name: OptionName): Option {
  return OPTIONS[name];
}

/** `freeze-budget` → `ORCHESTRATE_FREEZE_BUDGET`. */
export function environmentName(name: OptionName): string {
  return `ORCHESTRATE_${name.toUpperCase().replaceAll('-', '_')}`;
}

/** What a value of the option has to be, for errors and the reference. */
export function expectation(option: Option): string {
  switch (option.kind) {
    case 'text':
      return 'text of 1 to 200 characters, no connection string';
    case 'path':
      return 'the path of a file';
    case 'secret':
      return 'postgres://user@host:port/database';
    case 'boolean':
      return 'true or false';
    case 'count':
      return `a whole number from ${option.min ?? 0} to ${option.max ?? Number.MAX_SAFE_INTEGER}`;
    case 'count-or-all':
      return 'a whole number from 0 up, or all';
    case 'duration':
      return 'a duration with its unit, such as 250ms, 10s, 30m or 1h, up to 24d';
    case 'size':
      return 'a size such as 512KiB, 16MiB or 1GiB, or a number of bytes';
    case 'choice':
      return `one of ${(option.choices ?? []).join(', ')}`;
    case 'listen':
      return 'host:port, such as 127.0.0.1:9187, or off';
  }
}

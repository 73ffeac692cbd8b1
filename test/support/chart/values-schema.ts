import { OPTION_NAMES, type OptionName, optionOf } from '../../../orchestrator/config/tree.ts';

/** Options that the chart sets itself: mounted secrets, the address in the pod, what only a person at a terminal gives. */
export const SET_BY_CHART: readonly OptionName[] = [
  'blue-url',
  'blue-url-file',
  'green-url',
  'green-url-file',
  'config',
  'metrics-listen',
  'pgbouncer-consoles',
  'output',
  'kubernetes-config',
  'reason',
];

type Schema = Readonly<Record<string, unknown>>;

const text: Schema = { type: 'string' };
const name: Schema = { type: 'string', pattern: '^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$', maxLength: 253 };
const flag: Schema = { type: 'boolean' };
const labels: Schema = { type: 'object', additionalProperties: { type: 'string' } };
const objects: Schema = { type: 'array', items: { type: 'object' } };
const free: Schema = { type: 'object' };
const port: Schema = { type: 'integer', minimum: 1, maximum: 65535 };
const whole = (minimum: number, maximum: number): Schema => ({ type: 'integer', minimum, maximum });

/** An object of exactly these values: a misspelt one is refused, and never silently without effect. */
function exactly(properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema {
  return {
    type: 'object',
    additionalProperties: false,
    properties,
    ...(required.length ? { required } : {}),
  };
}

const reachable = exactly({ cidr: { type: 'string', pattern: '/\\d+$' }, port }, ['cidr', 'port']);
const secretKey = exactly({ existingSecret: { ...name, minLength: 1 }, key: { ...text, minLength: 1 } });

function optionSchema(option: OptionName): Schema {
  const { kind, choices, min, max, describe } = optionOf(option);
  const described = { description: describe };
  switch (kind) {
    case 'boolean':
      return { ...flag, ...described };
    case 'count':
      return {
        type: 'integer',
        minimum: min ?? 0,
        ...(max === undefined ? {} : { maximum: max }),
        ...described,
      };
    case 'count-or-all':
      return { oneOf: [{ type: 'integer', minimum: 0 }, { const: 'all' }], ...described };
    case 'duration':
      return { type: 'string', pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)$', ...described };
    case 'size':
      return {
        oneOf: [
          { type: 'integer', minimum: 0 },
          { type: 'string', pattern: '^\\d+(\\.\\d+)?([KMGT]i?B|B)?$' },
        ],
        ...described,
      };
    case 'choice':
      return { enum: choices ?? [], ...described };
    case 'text':
    case 'path':
    case 'secret':
    case 'listen':
      return { ...text, minLength: 1, ...described };
    default: {
      const never: never = kind;
      throw new Error(`no such kind: ${String(never)}`);
    }
  }
}

/** `values.schema.json`: unknown values are refused; what `config` may hold follows from the configuration tree. */
export function valuesSchema(): Schema {
  const options = OPTION_NAMES.filter((option) => !SET_BY_CHART.includes(option));
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the chart orchestrate',
    ...exactly({
      // What Helm itself puts in.
      global: free,
      nameOverride: name,
      fullnameOverride: name,
      additionalLabels: labels,
      image: exactly({
        repository: { ...text, minLength: 1 },
        tag: text,
        digest: { type: 'string', pattern: '^(sha256:[0-9a-f]{64})?$' },
        pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] },
      }),
      imagePullSecrets: { type: 'array', items: exactly({ name }, ['name']) },
      replicas: whole(1, 2),
      blue: secretKey,
      green: secretKey,
      config: exactly(Object.fromEntries(options.map((option) => [option, optionSchema(option)]))),
      traffic: exactly({
        pgbouncerConsoles: exactly({ existingSecret: name, key: text }),
      }),
      workers: exactly({ enabled: flag, count: whole(1, 64) }),
      commands: exactly({ enabled: flag }),
      rehearsal: exactly({
        enabled: flag,
        embedded: flag,
        application: exactly({ existingSecret: name, blueKey: text, greenKey: text }),
        iterations: whole(1, 100),
        schedule: { ...text, minLength: 9 },
        users: whole(1, 100_000_000),
        rate: whole(0, 100_000),
      }),
      resources: free,
      serviceAccount: exactly({ create: flag, name, annotations: labels }),
      podAnnotations: labels,
      podLabels: labels,
      nodeSelector: labels,
      tolerations: objects,
      affinity: free,
      extraEnv: objects,
      extraVolumes: objects,
      extraVolumeMounts: objects,
      podDisruptionBudget: exactly({ enabled: flag }),
      networkPolicy: exactly({
        enabled: flag,
        databases: { type: 'array', items: reachable },
        apiServer: { oneOf: [reachable, { type: 'object', maxProperties: 0 }] },
        metricsFrom: labels,
      }),
      serviceMonitor: exactly({
        enabled: flag,
        interval: { type: 'string', pattern: '^\\d+(ms|s|m|h)$' },
        scrapeTimeout: { type: 'string', pattern: '^\\d+(ms|s|m|h)$' },
        additionalLabels: labels,
      }),
      prometheusRule: exactly({ enabled: flag, runbookBaseUrl: text, additionalLabels: labels }),
      dashboard: exactly({ enabled: flag, additionalLabels: labels, annotations: labels }),
    }),
  };
}

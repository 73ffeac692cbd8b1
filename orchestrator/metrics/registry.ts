import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Labels, Metrics } from './metrics.ts';
import { METRICS, type MetricEntry, metricEntry, PREFIX } from './names.ts';

/** One series of a counter, as it is stored in `orchestrator.counter`. */
export interface CounterRow {
  readonly name: string;
  readonly labels: Labels;
  readonly value: number;
}

export interface RegistryMetrics extends Metrics {
  readonly contentType: string;
  /**
   * To be called when the lease is taken: begins every known series at 0, counters at what earlier runners stored.
   * Before it, only what a waiting replica may say is exported.
   */
  restore(rows: readonly CounterRow[]): void;
  /** @returns every counter that is above 0, to be stored. */
  snapshot(): CounterRow[];
  /** The exposition text. Never rejects: a metric that cannot be read keeps its last text and is counted. */
  text(): Promise<string>;
}

export interface RegistryOptions {
  readonly migration: string;
  readonly version: string;
  /** Commit of the build, when it is known. */
  readonly revision?: string;
  /** Unknown names and labels throw in tests; in production they are dropped, as no number is worth a stop. */
  readonly strict?: boolean;
  /** CPU, memory and event loop of the process; on unless a test looks for exact text. */
  readonly process?: boolean;
}

type Instrument = Gauge | Counter | Histogram;

/** prom-client's own gauges that end in `_total`, which `promtool check metrics` refuses. */
const REFUSED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/**
 * The metrics of one process, in a registry of their own (a second one in the same process is harmless).
 * Implements the interface that all the work reports to.
 */
export function createMetrics(options: RegistryOptions): RegistryMetrics {
  const { migration, strict = process.env['NODE_ENV'] === 'test' || process.env['VITEST'] !== undefined } =
    options;
  const registry = new Registry();
  const instruments = new Map<string, Instrument>();
  const counts = new Map<string, CounterRow>();
  let leading = false;

  for (const [name, entry] of Object.entries<MetricEntry>(METRICS))
    instruments.set(name, instrument(registry, name, entry));
  if (options.process ?? true) {
    collectDefaultMetrics({ register: registry, labels: { migration } });
    for (const name of REFUSED) registry.removeSingleMetric(name);
  }

  const withMigration = (name: string, labels: Labels): Record<string, string> =>
    name === 'build_info' ? { ...labels } : { migration, ...labels };

  /** @returns whether such a series is in the catalogue. @throws Error when strict and it is not. */
  function known(name: string, type: MetricEntry['type'], labels: Labels): boolean {
    const entry = metricEntry(name);
    const problem =
      entry === undefined
        ? 'is not in the catalogue'
        : entry.type !== type
          ? `is a ${entry.type}`
          : Object.keys(labels).sort().join() !== [...entry.labels].sort().join()
            ? `has the labels ${entry.labels.join(', ') || '(none)'}`
            : undefined;
    if (problem !== undefined && strict) throw new Error(`metric ${name} ${problem}`);
    return problem === undefined;
  }

  /** prom-client cannot give a counter a start value, so it is counted here and set there. */
  function count(name: string, labels: Labels, by: number): void {
    const key = JSON.stringify([
      name,
      Object.keys(labels)
        .sort()
        .map((label) => [label, labels[label]]),
    ]);
    counts.set(key, { name, labels, value: (counts.get(key)?.value ?? 0) + by });
    (instruments.get(name) as Counter).inc(withMigration(name, labels), by);
  }

  const self: RegistryMetrics = {
    contentType: registry.contentType,

    set(name, labels, value) {
      if (!known(name, 'gauge', labels)) return;
      if (!leading && metricEntry(name)?.always !== true) return;
      const g = instruments.get(name) as Gauge;
      if (value === undefined || Number.isNaN(value)) g.remove(withMigration(name, labels));
      else g.set(withMigration(name, labels), value);
    },

    add(name, labels, value) {
      if (known(name, 'counter', labels) && value >= 0) count(name, labels, value);
    },

    observe(name, labels, value) {
      if (known(name, 'histogram', labels) && Number.isFinite(value))
        (instruments.get(name) as Histogram).observe(withMigration(name, labels), value);
    },

    restore(rows) {
      leading = true;
      counts.clear();
      for (const [name, entry] of Object.entries<MetricEntry>(METRICS)) {
        const i = instruments.get(name);
        if (i instanceof Counter || i instanceof Histogram) i.reset();
        for (const labels of entry.initial ?? []) {
          if (i instanceof Counter) count(name, labels, 0);
          if (i instanceof Histogram) i.zero(withMigration(name, labels));
        }
      }
      // A row of an older version, whose metric or label is gone, is passed over.
      for (const row of rows) {
        const entry = metricEntry(row.name);
        const fits = Object.keys(row.labels).sort().join() === [...(entry?.labels ?? [])].sort().join();
        if (entry?.type === 'counter' && fits && row.value >= 0) count(row.name, row.labels, row.value);
      }
    },

    snapshot: () => [...counts.values()].filter((row) => row.value > 0),

    text: () => expose(registry, () => leading && count('scrape_errors_total', {}, 1)),
  };

  self.set(
    'build_info',
    {
      version: options.version,
      revision: options.revision ?? 'unknown',
      node_version: process.version,
    },
    1,
  );
  self.set('leader', {}, 0);
  return self;
}

function instrument(registry: Registry, name: string, entry: MetricEntry): Instrument {
  const labelNames = name === 'build_info' ? [...entry.labels] : ['migration', ...entry.labels];
  const common = { name: `${PREFIX}${name}`, help: entry.help, labelNames, registers: [registry] };
  switch (entry.type) {
    case 'gauge':
      return new Gauge(common);
    case 'counter':
      return new Counter(common);
    case 'histogram':
      return new Histogram({ ...common, buckets: [...(entry.buckets ?? [])] });
  }
}

/** prom-client fails a whole scrape when one `collect` throws; here every metric is on its own. */
async function expose(registry: Registry, onError: () => void): Promise<string> {
  const parts: string[] = [];
  for (const metric of registry.getMetricsAsArray()) {
    let text: string;
    try {
      text = await registry.getSingleMetricAsString(metric.name);
      lastTexts.set(metric, text);
    } catch {
      onError();
      text = lastTexts.get(metric) ?? '';
    }
    // Unknown is absent: a metric without a series is not announced either.
    if (/^[^#\s]/m.test(text)) parts.push(text.trimEnd());
  }
  return `${parts.join('\n\n')}\n`;
}

const lastTexts = new WeakMap<object, string>();

export type Labels = Readonly<Record<string, string>>;

/**
 * Where the work reports its numbers. Names are those of the catalogue without the `orchestrate_` prefix; the
 * `migration` label is added by the registry. `undefined` means unknown: the series is absent, never 0.
 */
export interface Metrics {
  set(name: string, labels: Labels, value: number | undefined): void;
  add(name: string, labels: Labels, value: number): void;
  observe(name: string, labels: Labels, value: number): void;
}

/** Metrics that go nowhere; for tests and for commands that only read. */
export const noMetrics: Metrics = { set() {}, add() {}, observe() {} };

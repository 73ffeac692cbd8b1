import type { Labels, Metrics } from './metrics.ts';
import { type METRICS, type MetricName, metricEntry } from './names.ts';

/** Names of the catalogue's state sets. */
export type StateSet = {
  [N in MetricName]: (typeof METRICS)[N] extends { readonly states: object } ? N : never;
}[MetricName];

/**
 * Sets a state set: 1 for the state it is in, 0 for every other; `undefined` (unknown) takes all of them away.
 * @param labels the other labels, e.g. `{ side: 'blue' }` of `fence_state`.
 */
export function setState(metrics: Metrics, name: StateSet, labels: Labels, state: string | undefined): void {
  const set = metricEntry(name)?.states;
  if (set === undefined) return;
  for (const value of set.values)
    metrics.set(
      name,
      { ...labels, [set.label]: value },
      state === undefined ? undefined : value === state ? 1 : 0,
    );
}

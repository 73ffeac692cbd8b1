/** Every series is one of the migration that is chosen above the dashboard. */
export const S = 'job=~"$job",migration="$migration"';

const quantile = (q: number, name: string, by: string): string =>
  `histogram_quantile(${q}, sum by (${by}le) (rate(orchestrate_${name}_bucket{${S}}[$__rate_interval])))`;

/** The middle and the slow end of a histogram, in seconds. */
export const spread = (name: string, by = '', legend = ''): { expr: string; legend: string }[] =>
  ([0.5, 0.95] as const).map((q) => ({
    expr: quantile(q, name, by === '' ? '' : `${by}, `),
    legend: `${legend}p${q * 100}`,
  }));

/** Of two replicas one leads; what it says counts once. */
export const of = (name: string, ...matchers: string[]): string =>
  `orchestrate_${name}{${[S, ...matchers].join(',')}}`;

export const rateOf = (name: string, ...by: string[]): string =>
  `sum by (${by.join(', ')}) (rate(${of(name)}[$__rate_interval]))`;

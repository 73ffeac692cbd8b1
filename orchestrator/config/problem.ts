/** One thing that is wrong with the configuration. The value found is named by kind, never repeated for a secret. */
export interface Problem {
  /** Where: `--max-lag`, `ORCHESTRATE_MAX_LAG`, or `max-lag in orchestrate.yaml`. */
  readonly path: string;
  readonly expected: string;
  readonly found: string;
  readonly fix: string;
}

/** @returns all problems as the text of one error, a line each after the first. */
export function describeProblems(problems: readonly Problem[]): string {
  return problems.map((p) => `${p.path}: expected ${p.expected}; found ${p.found}; ${p.fix}`).join('\n');
}

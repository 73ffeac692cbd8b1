const LOADED_TABLES = 4;

/**
 * As many processes on green as the copy was given: one a table first, then several an index.
 * @param workers of the copy, at least 1.
 */
export function shareOf(workers: number): { readonly connections: number; readonly parallelWorkers: number } {
  const connections = Math.min(workers, LOADED_TABLES);
  return { connections, parallelWorkers: Math.floor(workers / connections) - 1 };
}

/** Which source ids a comparison is about: a chunk, or the keys of a delta. */
export type Scope =
  | { readonly kind: 'range'; readonly lower: bigint; readonly upper: bigint }
  | { readonly kind: 'keys'; readonly keys: readonly number[] };

export const LOWEST = -(2n ** 63n);
/** Open end: no id is as high. */
export const HIGHEST = 2n ** 63n - 1n;

/** @returns the condition that `column` is in a scope of that kind, its parameters numbered from `$first`. */
export function scopeSql(kind: Scope['kind'], column: string, first: number): string {
  return kind === 'range'
    ? `(${column} >= $${first}::bigint AND ${column} < $${first + 1}::bigint)`
    : `${column} = ANY ($${first}::integer[])`;
}

/** @returns the parameters of `scopeSql`. */
export function scopeValues(scope: Scope): unknown[] {
  return scope.kind === 'range' ? [scope.lower.toString(), scope.upper.toString()] : [scope.keys];
}

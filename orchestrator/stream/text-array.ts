import type { Value } from './change.ts';

const SPECIAL = /["\\]/;

/** Quotes one element of an array literal (PostgreSQL manual, 8.15.2); quoted, only two characters are special. */
function element(value: Value): string {
  if (value === null || value === undefined) return 'NULL';
  return SPECIAL.test(value) ? `"${value.replaceAll(/["\\]/g, '\\$&')}"` : `"${value}"`;
}

/**
 * One array literal a column, over rows of text. NULL stands for an absent value, too; `unnest` pads shorter arrays
 * with NULL, so NULLs at the end of a column (for many columns: all of it) are left out.
 * Built here and not by the driver, which looks at every element again to learn its type.
 */
export function columnArrays(rows: readonly (readonly Value[])[], columns: number): string[] {
  const arrays: string[] = [];
  for (let c = 0; c < columns; c++) {
    let last = rows.length - 1;
    while (last >= 0 && (rows[last]?.[c] ?? null) === null) last -= 1;
    const elements: string[] = [];
    for (let r = 0; r <= last; r++) elements.push(element(rows[r]?.[c]));
    arrays.push(`{${elements.join(',')}}`);
  }
  return arrays;
}

/** An array literal of numbers. */
export function numberArray(values: Iterable<number | bigint>): string {
  return `{${[...values].join(',')}}`;
}

/** An array literal of text. */
export function textArray(values: Iterable<Value>): string {
  return `{${Array.from(values, element).join(',')}}`;
}

import { SOURCE_COLUMN_NAMES, type SourceRow } from '../source-columns.ts';

/** The statement that {@link copyLine} feeds; columns by name, because physical orders differ. */
export const COPY_USER_SETTINGS = `COPY user_settings (${SOURCE_COLUMN_NAMES.map((c) => `"${c}"`).join(', ')}) FROM STDIN`;

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\t': '\\t',
  '\n': '\\n',
  '\r': '\\r',
  '\b': '\\b',
  '\f': '\\f',
  '\v': '\\v',
};

/** @returns the value in COPY's text format: `\N` is NULL, an empty field is the empty string. */
function field(value: string | null): string {
  if (value === null) return '\\N';
  return value.replace(/[\\\t\n\r\b\f\v]/g, (c) => ESCAPES[c] ?? c);
}

/** @returns one row of `user_settings` as a line of COPY's text format, newline included. */
export function copyLine(row: SourceRow): string {
  return `${SOURCE_COLUMN_NAMES.map((name) => field(row[name])).join('\t')}\n`;
}

/**
 * Fields as a person reads them, `name=value`. What is simply so comes first, as a part of the sentence before it:
 * `copy started rows=40000`.
 */
export function factsOf(fields: object): string[] {
  const entries = Object.entries(fields);
  return [
    ...entries.filter(([, value]) => value === true).map(([name]) => name),
    ...entries.filter(([, value]) => value !== true).map(([name, value]) => `${name}=${plain(value)}`),
  ];
}

/** A value on one line: bare when it is a plain word; facts within it apart, so that a terminal may break there. */
function plain(value: unknown): string {
  if (typeof value === 'string') return /^[!#-<>-~]+$/.test(value) ? value : JSON.stringify(value);
  // Times are measured finer than anybody reads them.
  if (typeof value === 'number' && !Number.isInteger(value)) return String(Number(value.toPrecision(4)));
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return `{${factsOf(value).join(' ')}}`;
  return JSON.stringify(value) ?? '';
}

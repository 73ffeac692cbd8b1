import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import type * as Yaml from 'yaml';
import type { Problem } from './problem.ts';

/** Larger than any configuration; a wrong path should not read a database dump into memory. */
const LARGEST_BYTES = 1 << 20;

/**
 * Reads a configuration file: YAML, of which JSON is a part.
 * @returns its top-level mapping, or what is wrong with it; the file's text is never repeated.
 */
export function readConfigFile(path: string): { values: Record<string, unknown> } | { problem: Problem } {
  const problem = (expected: string, found: string, fix: string) => ({
    problem: { path, expected, found, fix },
  });
  let text: string;
  try {
    if (statSync(path).size > LARGEST_BYTES)
      return problem('a file of at most 1 MiB', 'a larger one', 'check the path given to --config');
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return problem(
      'a readable file',
      (error as NodeJS.ErrnoException).code ?? 'an error',
      'check the path given to --config',
    );
  }
  // Loaded only when there is a file: most commands have none to read.
  const { parseDocument } = createRequire(import.meta.url)('yaml') as typeof Yaml;
  const document = parseDocument(text, { prettyErrors: false, logLevel: 'silent', uniqueKeys: true });
  const first = document.errors[0];
  if (first !== undefined) {
    const line = text.slice(0, first.pos[0]).split('\n').length;
    return problem('YAML or JSON', `${first.code} at line ${line}`, `mend line ${line}`);
  }
  let values: unknown;
  try {
    values = document.toJS({ maxAliasCount: 10 });
  } catch {
    return problem('YAML or JSON', 'aliases that cannot be resolved', 'write the values out');
  }
  if (values === null) return { values: {} };
  if (typeof values !== 'object' || Array.isArray(values))
    return problem(
      'options as keys with their values',
      Array.isArray(values) ? 'a list' : `a ${typeof values}`,
      'write "option: value" lines',
    );
  return { values: values as Record<string, unknown> };
}

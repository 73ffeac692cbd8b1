import { isMap, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml';
import { code, table } from '../readme/markdown.ts';

/** One value of the chart: its path, its default as JSON, and what the comment before it says. */
interface Value {
  readonly path: string;
  readonly preset: string;
  readonly describe: string;
}

/** @returns the values of `values.yaml` that have a comment `# -- …`, in order. @throws Error for a leaf without one. */
function valuesOf(text: string): Value[] {
  const found: Value[] = [];
  const walk = (map: YAMLMap, path: string): void => {
    for (const [i, pair] of (map.items as Pair[]).entries()) {
      const { key, value } = pair;
      const name = isScalar(key) ? String(key.value) : '';
      const full = path === '' ? name : `${path}.${name}`;
      // The comment before the first key of a map stands on the map.
      const comment =
        (key as { commentBefore?: string }).commentBefore ?? (i === 0 ? map.commentBefore : '') ?? '';
      const describe = /(?:^|\n) -- ([\s\S]*)$/
        .exec(comment)?.[1]
        ?.replaceAll(/\s*\n\s*/g, ' ')
        .trim();
      if (describe !== undefined)
        found.push({
          path: full,
          preset: JSON.stringify((value as { toJSON(): unknown }).toJSON()),
          describe,
        });
      else if (isMap(value) && value.items.length > 0) walk(value, full);
      else
        found.push({
          path: full,
          preset: JSON.stringify((value as { toJSON(): unknown }).toJSON()),
          describe: 'As Kubernetes has it',
        });
    }
  };
  walk(parseDocument(text).contents as YAMLMap, '');
  return found;
}

/** The table of values in the chart's README. */
export function chartValues(text: string): string {
  return table(
    ['value', 'default', 'what'],
    valuesOf(text).map(({ path, preset, describe }) => [
      code(path),
      code(preset),
      describe.replaceAll('|', '\\|'),
    ]),
  );
}

import type { ConfigDocument } from '../config.ts';

/** The options of the configuration: all of them, or only how many were given. */
export function renderConfig(document: ConfigDocument, all: boolean): string {
  const given = document.options.filter((o) => o.source !== 'default');
  if (!all) return `The configuration is valid: ${given.length} of ${document.options.length} options given`;
  const width = Math.max(...document.options.map((o) => o.name.length));
  const set = document.options.filter((o) => o.value !== null);
  const values = Math.min(40, Math.max(...set.map((o) => o.value?.length ?? 0)));
  const unset = document.options.filter((o) => o.value === null);
  return [
    ...set.map((o) => `${o.name.padEnd(width)}  ${(o.value ?? '').padEnd(values)}  ${o.source}`),
    `not set: ${unset.map((o) => o.name).join(', ')}`,
  ].join('\n');
}

import { z } from 'zod';
import { OPTION_NAMES, OPTIONS, type Option, type OptionName } from './tree.ts';
import { parseDuration, parseSize } from './units.ts';

/** What each kind of option becomes. Text is what flags and the environment have; a file may also hold numbers. */
interface Parsed {
  text: string;
  path: string;
  secret: string;
  boolean: boolean;
  count: number;
  'count-or-all': number | 'all';
  duration: number;
  size: bigint;
  choice: string;
  listen: { host: string; port: number } | 'off';
}

type ValueOf<O> = O extends { choices: readonly (infer C)[] }
  ? C
  : O extends { kind: infer K extends keyof Parsed }
    ? Parsed[K]
    : never;

/** Typed values by option name, as far as they are given. */
export type Values = { [N in OptionName]?: ValueOf<(typeof OPTIONS)[N]> };

const scalar = z.union([z.string(), z.number(), z.boolean()]).transform((v) => String(v).trim());

/** Text of a value, then the kind's own reading of it; `undefined` from `read` means it is none. */
function from<T>(read: (text: string) => T | undefined) {
  return scalar.transform((text, context) => {
    const value = read(text);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom' });
    return z.NEVER;
  });
}

function wholeNumber(text: string, min: number, max: number): number | undefined {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? value : undefined;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const CONTROL = /[\u0000-\u001f\u007f]/;

/** A connection string in the wrong place: a name or a path is printed, in logs and labels, and a password with it. */
const CREDENTIALS = /:\/\/\S*@|\bpass(?:word|wd)?\s*=/i;

/** @returns the check of one value of that option. */
export function schemaOf(option: Option): z.ZodType {
  switch (option.kind) {
    case 'text':
      return from((t) =>
        t.length > 0 && t.length <= 200 && !CONTROL.test(t) && !CREDENTIALS.test(t) ? t : undefined,
      );
    case 'path':
      return from((t) =>
        t.length > 0 && t.length <= 4_096 && !t.includes('\0') && !CREDENTIALS.test(t) ? t : undefined,
      );
    case 'secret':
      return from((t) => (t.length > 0 ? t : undefined));
    case 'boolean':
      return from((t) =>
        /^(true|yes|on|1)$/i.test(t) ? true : /^(false|no|off|0)$/i.test(t) ? false : undefined,
      );
    case 'count':
      return from((t) => wholeNumber(t, option.min ?? 0, option.max ?? Number.MAX_SAFE_INTEGER));
    case 'count-or-all':
      return from((t) => (t === 'all' ? t : wholeNumber(t, 0, Number.MAX_SAFE_INTEGER)));
    case 'duration':
      return from(parseDuration);
    case 'size':
      return from(parseSize);
    case 'choice':
      return from((t) => (option.choices?.includes(t) ? t : undefined));
    case 'listen':
      return from(parseListen);
  }
}

/** `host:port`, `[::1]:port` or `off`. */
function parseListen(text: string): { host: string; port: number } | 'off' | undefined {
  if (text === 'off') return 'off';
  const m = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})$/.exec(text);
  const port = Number(m?.[3]);
  return m && port <= 65_535 ? { host: m[1] ?? m[2] ?? '', port } : undefined;
}

/**
 * Checks one layer of options: everything that is wrong with it at once.
 * @returns the good values, the names of bad ones, and keys that are no option.
 */
export function validateLayer(layer: Readonly<Record<string, unknown>>): {
  values: Values;
  bad: readonly OptionName[];
  unknown: readonly string[];
} {
  const result = LAYER.safeParse(layer);
  if (result.success) return { values: result.data as Values, bad: [], unknown: [] };
  const unknown = result.error.issues.flatMap((i) => (i.code === 'unrecognized_keys' ? i.keys : []));
  const bad = new Set(
    result.error.issues.flatMap((i) => (i.path.length > 0 ? [i.path[0] as OptionName] : [])),
  );
  const good = OPTION_NAMES.filter((name) => Object.hasOwn(layer, name) && !bad.has(name));
  const values = LAYER.parse(Object.fromEntries(good.map((name) => [name, layer[name]])));
  return { values: values as Values, bad: [...bad], unknown };
}

const LAYER = z.strictObject(
  Object.fromEntries(OPTION_NAMES.map((name) => [name, schemaOf(OPTIONS[name]).optional()])),
);

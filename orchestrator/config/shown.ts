import { type OptionName, optionOf } from './tree.ts';
import { formatDuration, formatSize } from './units.ts';
import type { Values } from './validate.ts';

/**
 * A value as it would be typed, with its unit; the same text read again gives the same value.
 * @returns undefined when it is not set, `***` for a secret.
 */
export function shown(name: OptionName, values: Values): string | undefined {
  const value = values[name];
  if (value === undefined) return undefined;
  switch (optionOf(name).kind) {
    case 'secret':
      return '***';
    case 'duration':
      return formatDuration(value as number);
    case 'size':
      return formatSize(value as bigint);
    case 'listen':
      return listen(value as { host: string; port: number } | 'off');
    default:
      return String(value as string | number | boolean);
  }
}

function listen(value: { host: string; port: number } | 'off'): string {
  if (value === 'off') return 'off';
  return `${value.host.includes(':') ? `[${value.host}]` : value.host}:${value.port}`;
}

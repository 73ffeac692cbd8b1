import { parseDuration } from '../config/units.ts';
import { failure } from '../errors/failure.ts';

/** A command's own duration (ms). @throws OrchestrateError CONFIG_INVALID */
export function duration(name: string, value: unknown, otherwise: number): number {
  if (typeof value !== 'string') return otherwise;
  const ms = parseDuration(value);
  if (ms === undefined)
    throw failure('CONFIG_INVALID', {
      message: `--${name} cannot be used`,
      expected: 'a duration with its unit, such as 5s or 2m',
      found: JSON.stringify(value.slice(0, 40)),
    });
  return ms;
}

/** A command's own whole number from 1 up. @throws OrchestrateError CONFIG_INVALID */
export function wholeNumber(name: string, value: unknown, otherwise: number): number {
  if (typeof value !== 'string') return otherwise;
  if (!/^[1-9]\d{0,8}$/.test(value))
    throw failure('CONFIG_INVALID', {
      message: `--${name} cannot be used`,
      expected: 'a whole number from 1 up',
      found: JSON.stringify(value.slice(0, 40)),
    });
  return Number(value);
}

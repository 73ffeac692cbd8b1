import type { Progress } from '../../log/log.ts';
import { bar, bytes, compact, duration } from './format.ts';

const BAR_COLUMNS = 10;

/** @returns one line for a terminal: a bar where the end is known, then rows, bytes, rate and what is left. */
export function progressLine(state: Progress): string {
  const { rowsDone, rowsExpected, rate, etaSeconds } = state;
  const part = rowsExpected === null || rowsExpected === 0 ? null : Math.min(1, rowsDone / rowsExpected);
  return [
    state.work,
    ...(part === null ? [] : [`${bar(part, BAR_COLUMNS)} ${Math.floor(part * 100)} %`]),
    `${compact(rowsDone)}${rowsExpected === null ? '' : ` of ${compact(rowsExpected)}`} rows`,
    bytes(state.bytes),
    ...(rate === null ? [] : [`${compact(Math.round(rate))}/s`]),
    ...(etaSeconds === null ? [] : [`${duration(etaSeconds)} left`]),
  ].join('  ');
}

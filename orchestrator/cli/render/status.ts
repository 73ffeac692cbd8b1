import type { LockWait } from '../../pg/lock-waits.ts';
import { SIDES } from '../../pg/side.ts';
import type { StatusDocument } from '../../state/documents.ts';
import type { Style } from '../terminal.ts';
import { wrap } from '../wrap.ts';
import { bar, bytes, compact, count, duration, flow, seconds, secondsSince, UNKNOWN } from './format.ts';

export interface StatusView {
  readonly style: Style;
  readonly columns: number;
  readonly now: Date;
}

/** `status` for a person (OPERATIONS 5): only lines about which something is known, none wider than the terminal. */
export function renderStatus(s: StatusDocument, view: StatusView): string {
  const lines = [headline(s, view)];
  for (const side of s.unreachable) lines.push(view.style.red(`${label('Lost')}${side} cannot be reached`));
  if (s.stopped !== null)
    lines.push(view.style.red(`${label('Stopped')}${s.stopped.code}: ${s.stopped.message}`));
  if (s.unmoved != null)
    lines.push(view.style.red(`${label('Clients')}still led to ${s.unmoved}: the traffic driver fails`));
  lines.push(...copyLines(s, view), ...lagLines(s, view), ...slotLines(s, view));
  lines.push(...verifyLines(s, view), ...freezeLines(s, view), ...gateLines(s, view));
  lines.push(...sideLines(s, view), ...waitLines(s.lock_waits ?? []).map((line) => view.style.yellow(line)));
  if (s.next_steps.length > 0) lines.push(flow(label('Next:'), s.next_steps, view.columns));
  return lines.join('\n');
}

function label(text: string): string {
  return text.padEnd(9);
}

function headline(s: StatusDocument, { style, now }: StatusView): string {
  const since = secondsSince(s.since, now);
  const phase = `${(s.phase ?? 'unknown').toUpperCase()}${since === undefined ? '' : ` for ${duration(since)}`}`;
  const writes = `writes → ${style.bold(s.serving?.toUpperCase() ?? UNKNOWN)}`;
  return [style.bold(s.migration), phase, writes, ...verdict(s, style)].join('   ');
}

function verdict(s: StatusDocument, style: Style): string[] {
  if (s.gates.length === 0) return [];
  const passed = s.gates.filter((g) => g.passed === true).length;
  const ratio = `${passed}/${s.gates.length} gates`;
  if (passed < s.gates.length) return [`${style.yellow('NO-GO')} ${ratio}`];
  // What was judged before the runner stopped is no word about now.
  return s.stopped === null ? [`${style.green('GO ✓')} ${ratio}`] : [style.red('NO-GO stopped')];
}

function copyLines({ copy, guide }: StatusDocument, { now }: StatusView): string[] {
  const { rows_done: done, rows_expected: expected, eta } = copy;
  if (done === null || expected === null) return [];
  const part = expected === 0 ? 1 : done / expected;
  const left = eta === null ? undefined : secondsSince(eta, now);
  const took = guide?.migration_seconds == null ? '' : `   in sync after ${seconds(guide.migration_seconds)}`;
  const when = left === undefined || left >= 0 || part >= 1 ? took : `   ${duration(-left)} left`;
  return [
    `${label('Copy')}${bar(part, 18)} ${Math.floor(part * 100)} %   ${compact(done)}/${compact(expected)} rows${when}`,
  ];
}

function lagLines(s: StatusDocument, { columns }: StatusView): string[] {
  if (s.direction === null || (s.lag.seconds === null && s.lag.bytes === null)) return [];
  const way = s.direction === 'forward' ? 'blue→green' : 'green→blue';
  const parts = [`${way} ${seconds(s.lag.seconds)} (${bytes(s.lag.bytes)})`];
  if (s.lag.changes_per_second != null)
    parts.push(`${count(Math.round(s.lag.changes_per_second))} changes/s`);
  if (s.lag.errors != null) parts.push(`errors ${count(s.lag.errors)}`);
  return [flow(label('Lag'), parts, columns)];
}

function slotLines(s: StatusDocument, { style, columns }: StatusView): string[] {
  if (s.slot.name === null || (s.slot.retained_bytes === null && s.slot.wal_status === null)) return [];
  const parts = [`retains ${bytes(s.slot.retained_bytes)}`];
  if (s.slot.safe_bytes != null) parts.push(`headroom ${bytes(s.slot.safe_bytes)}`);
  if (s.slot.wal_status !== null && s.slot.wal_status !== 'reserved') parts.push(`WAL ${s.slot.wal_status}`);
  const line = flow(label('Slot'), parts, columns);
  return [s.slot.wal_status === 'lost' ? style.red(line) : line];
}

function verifyLines(s: StatusDocument, { style, columns, now }: StatusView): string[] {
  const v = s.verify;
  if (v.last_success === null && v.mismatched === null) return [];
  const age = secondsSince(v.last_success, now);
  const parts = [
    `${count(v.mismatched)} differences${v.rows_compared == null ? '' : ` in ${compact(v.rows_compared)} rows`}`,
    age === undefined ? 'no clean sweep yet' : `sweep ${duration(age)} ago`,
  ];
  if (v.delta_keys !== null) parts.push(`delta ${count(v.delta_keys)} keys`);
  if (v.parked !== null) parts.push(`parked ${count(v.parked)}`);
  const line = flow(label('Verify'), parts, columns);
  return [(v.mismatched ?? 0) > 0 ? style.red(line) : line];
}

function freezeLines(s: StatusDocument, { columns }: StatusView): string[] {
  const f = s.freeze;
  if (f === undefined || f.predicted_seconds === null) return [];
  const parts = [`predicted ${seconds(f.predicted_seconds)} of ${seconds(f.budget_seconds)}`];
  if (f.last_rehearsal_seconds !== null) parts.push(`last rehearsal ${seconds(f.last_rehearsal_seconds)}`);
  return [flow(label('Freeze'), parts, columns)];
}

/** The figures of the guide, by side. */
function sideLines({ guide }: StatusDocument, { columns }: StatusView): string[] {
  if (guide == null || guide.migration_seconds === null) return [];
  const { database_bytes: size, query_seconds: query, refused_writes: refused } = guide;
  return SIDES.map((side) => {
    const read = query[side];
    const parts = [`database ${bytes(size[side])}`];
    if (read !== null) parts.push(`reads a user's settings in ${(read * 1_000).toFixed(1)} ms`);
    parts.push(`${count(refused[side])} writes refused`);
    return flow(label(side === 'blue' ? 'Blue' : 'Green'), parts, columns);
  });
}

/** Who waits for which lock, and whom for. */
export function waitLines(waits: readonly LockWait[]): string[] {
  const who = (pid: number, ours: boolean) =>
    pid === 0 ? 'a prepared transaction' : `pid ${pid}${ours ? ' (ours)' : ''}`;
  return waits.map(
    (w) =>
      `${label('Waits')}${w.side}: ${who(w.pid, w.ours)} for ${seconds(w.seconds)} for ${w.mode}${w.relation === null ? '' : ` on ${w.relation}`}, held by ${w.blocked_by.map((b) => who(b.pid, b.ours)).join(', ')}`,
  );
}

function gateLines(s: StatusDocument, { style, columns }: StatusView): string[] {
  const closed = s.gates.filter((g) => g.passed !== true);
  // All of them closed says no more than the headline does.
  if (closed.length === 0 || closed.length === s.gates.length) return [];
  return closed.map((g, i) =>
    style.yellow(
      wrap(
        `${label(i === 0 ? 'Gates' : '')}${g.passed === null ? '?' : '✗'} ${g.name}: ${g.detail}`,
        columns,
      ),
    ),
  );
}

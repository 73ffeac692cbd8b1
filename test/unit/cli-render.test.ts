import { describe, expect, it } from 'vitest';
import { renderEnd } from '../../orchestrator/cli/render/ending.ts';
import { bar, bytes, compact, duration, seconds } from '../../orchestrator/cli/render/format.ts';
import { renderHandover, renderStep, wayOf } from '../../orchestrator/cli/render/handover.ts';
import { renderPreflight } from '../../orchestrator/cli/render/preflight.ts';
import { renderStatus } from '../../orchestrator/cli/render/status.ts';
import { renderVerify } from '../../orchestrator/cli/render/verify.ts';
import { style } from '../../orchestrator/cli/terminal.ts';
import { failure } from '../../orchestrator/errors/failure.ts';
import { GATES, type HandoverDocument, type StatusDocument } from '../../orchestrator/state/documents.ts';

const plain = style(false);
const now = new Date('2026-01-02T14:00:00Z');
const view = { style: plain, columns: 80, now };

const syncing: StatusDocument = {
  migration: 'user-settings-org',
  phase: 'syncing',
  since: '2026-01-02T10:48:00Z',
  generation: 0,
  stopped: null,
  unreachable: [],
  serving: 'blue',
  standby: 'green',
  direction: 'forward',
  copy: { rows_done: 41_200_000, rows_expected: 41_200_000, eta: null },
  lag: { seconds: 0.21, bytes: 3_100, changes_per_second: 412, errors: 0 },
  slot: { name: 's', wal_status: 'reserved', retained_bytes: 48e6, safe_bytes: 63e9 },
  verify: {
    last_success: '2026-01-02T13:38:00Z',
    mismatched: 0,
    delta_keys: 1204,
    parked: 12,
    rows_compared: 41_200_000,
  },
  freeze: { predicted_seconds: 0.3, budget_seconds: 10, last_rehearsal_seconds: 0.28 },
  gates: GATES.map((name) => ({ name, passed: true, detail: '' })),
  next_steps: ['orchestrate cutover --dry-run'],
};

const created: StatusDocument = {
  migration: 'user-settings-org',
  phase: 'created',
  generation: null,
  stopped: null,
  unreachable: [],
  serving: 'blue',
  standby: 'green',
  direction: null,
  copy: { rows_done: null, rows_expected: null, eta: null },
  lag: { seconds: null, bytes: null },
  slot: { name: null, wal_status: null, retained_bytes: null },
  verify: { last_success: null, mismatched: null, delta_keys: null, parked: null },
  gates: [],
  next_steps: ['orchestrate preflight', 'orchestrate run'],
};

describe('status', () => {
  it('reads as the handbook shows it', () => {
    expect(renderStatus(syncing, view).split('\n')).toEqual([
      'user-settings-org   SYNCING for 3h12m   writes → BLUE   GO ✓ 15/15 gates',
      'Copy     ██████████████████ 100 %   41.2M/41.2M rows',
      'Lag      blue→green 0.21 s (3.1 kB) · 412 changes/s · errors 0',
      'Slot     retains 48 MB · headroom 63 GB',
      'Verify   0 differences in 41.2M rows · sweep 22m00s ago · delta 1,204 keys',
      '         parked 12',
      'Freeze   predicted 0.3 s of 10 s · last rehearsal 0.28 s',
      'Next:    orchestrate cutover --dry-run',
    ]);
  });

  it('says of what is unknown nothing at all', () => {
    expect(renderStatus(created, view).split('\n')).toEqual([
      'user-settings-org   CREATED   writes → BLUE',
      'Next:    orchestrate preflight · orchestrate run',
    ]);
  });

  it('names what is lost, what stopped it, and the gates in the way, within 80 columns', () => {
    const lines = renderStatus(
      {
        ...syncing,
        unreachable: ['green'],
        stopped: {
          code: 'SLOT_LOST',
          message: 'gone',
          serving: 'blue',
          expected: null,
          found: null,
          fix: 'x',
          runbook: 'y',
        },
        copy: { rows_done: 1_000, rows_expected: 3_000, eta: '2026-01-02T14:01:05Z' },
        gates: GATES.map((name) => ({ name, passed: name !== 'sweep', detail: 'ddd '.repeat(50).trim() })),
        next_steps: Array.from({ length: 5 }, (_, i) => `orchestrate some-command-${i}`),
      },
      view,
    ).split('\n');
    expect(lines).toContain('Lost     green cannot be reached');
    expect(lines).toContain('Stopped  SLOT_LOST: gone');
    expect(lines).toContain('Copy     ██████░░░░░░░░░░░░ 33 %   1000/3000 rows   1m05s left');
    expect(lines[0]).toContain('NO-GO 14/15 gates');
    expect(lines.some((l) => l.startsWith('Gates    ✗ sweep: ddd ddd'))).toBe(true);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  it('shows the figures of both sides, each on a line of its own', () => {
    const guide = {
      migration_seconds: 11.2,
      database_bytes: { blue: 33e6, green: 47e6 },
      query_seconds: { blue: 0.0035, green: null },
      refused_writes: { blue: 2, green: 1 },
    };
    const lines = renderStatus({ ...syncing, guide }, view).split('\n');
    expect(lines).toContain('Copy     ██████████████████ 100 %   41.2M/41.2M rows   in sync after 11 s');
    expect(lines).toContain("Blue     database 33 MB · reads a user's settings in 3.5 ms · 2 writes refused");
    expect(lines).toContain('Green    database 47 MB · 1 writes refused');
  });

  it('says where clients are that no handover could move', () => {
    const lines = renderStatus({ ...syncing, unmoved: 'blue' }, view).split('\n');
    expect(lines).toContain('Clients  still led to blue: the traffic driver fails');
  });

  it('of a runner that has stopped nothing says GO', () => {
    const stopped = failure('SCHEMA_CHANGED').toDocument();
    const [headline] = renderStatus({ ...syncing, stopped }, view).split('\n');
    expect(headline).toBe('user-settings-org   SYNCING for 3h12m   writes → BLUE   NO-GO stopped');
  });

  it('without green the phase is not known, nor what a slot of green keeps', () => {
    const slot = { name: 's', wal_status: null, retained_bytes: null };
    expect(
      renderStatus({ ...created, phase: null, serving: 'green', slot, unreachable: ['green'] }, view).split(
        '\n',
      ),
    ).toEqual([
      'user-settings-org   UNKNOWN   writes → GREEN',
      'Lost     green cannot be reached',
      'Next:    orchestrate preflight · orchestrate run',
    ]);
  });

  it('uses colour only when it may', () => {
    expect(renderStatus(syncing, view)).not.toContain('\u001b');
    expect(renderStatus(syncing, { ...view, style: style(true) })).toContain('\u001b[32mGO ✓\u001b[39m');
  });
});

describe('a handover', () => {
  const way = wayOf('cutover');
  const done: HandoverDocument = {
    outcome: 'done',
    kind: 'cutover',
    serving: 'green',
    freeze_seconds: 0.284,
    budget_seconds: 10,
    steps: [],
    certificate: null,
    next_steps: ['orchestrate status --watch', 'orchestrate revert'],
  };

  it('one line a step, fancy on a terminal and plain elsewhere', () => {
    const gates = { step: 'gates', seconds: 0.312, ok: true, note: '15/15' } as const;
    const freeze = { step: 'freeze', seconds: 0.02, ok: true, note: 'frozen 14:02:07.114' } as const;
    expect(renderStep(gates, way, true, plain)).toBe(` ✓  1 ${'gates 15/15'.padEnd(32)}  0.31 s`);
    expect(renderStep(freeze, way, true, plain)).toBe(
      ` ✓  3 ${'freeze writes on blue'.padEnd(32)}  0.02 s   ← frozen 14:02:07.114`,
    );
    expect(renderStep({ ...freeze, ok: false }, wayOf('revert'), false, plain)).toBe(
      'step 3 freeze writes on green: failed, 0.02 s, frozen 14:02:07.114',
    );
    const open = { step: 'open', seconds: 10.31, ok: true, note: 'writes on green 14:02:07.398' } as const;
    for (const step of [gates, freeze, open])
      expect(renderStep(step, way, true, plain).length).toBeLessThanOrEqual(80);
  });

  it.each([
    ['done', 'Done. No writes for 0.28 s of 10 s. green takes writes.'],
    ['rehearsed', 'as before'],
    ['dry-run', 'Nothing was touched'],
    ['no-go', 'NO-GO'],
    ['aborted', 'Aborted. green takes writes'],
    ['unfinished', 'Decided, not finished: green serves'],
  ] as const)('%s says which side takes writes', (outcome, part) => {
    const text = renderHandover({ ...done, outcome }, 'cutover', 80, plain);
    expect(text).toContain(part);
    expect(text).toContain('Next: orchestrate status --watch · orchestrate revert');
  });

  it('a dry run says what would follow, with the times that are expected', () => {
    const predicted_steps = [
      { step: 'freeze', seconds: 0.02 },
      { step: 'drain', seconds: 0.31 },
    ] as const;
    expect(
      renderHandover({ ...done, outcome: 'dry-run', predicted_steps }, 'cutover', 80, plain).split('\n'),
    ).toContain('Then: freeze 0.02 s · drain 0.31 s');
  });

  it('gates that are closed are marked so', () => {
    const gates = { step: 'gates', seconds: 0.3, ok: false, note: '14/15' } as const;
    expect(renderStep(gates, way, true, plain)).toContain(' ✗  1 gates 14/15');
  });

  it('lists closed gates and what stays behind', () => {
    const gates = [
      { name: 'lag', passed: true, detail: 'fine' },
      { name: 'sweep', passed: false, detail: 'none yet' },
    ] as const;
    const text = renderHandover(
      { ...done, outcome: 'no-go', gates, not_revertible: [{ what: 'second members', rows: 1200 }] },
      'revert',
      80,
      plain,
    );
    expect(text).toContain(' ✗ sweep         none yet');
    expect(text).not.toContain('fine');
    expect(text).toContain('stays on green: 1,200 second members');
  });
});

it('preflight: what stops comes first', () => {
  const finding = (check: string, severity: 'stop' | 'warn') =>
    ({ check, side: 'blue', severity, expected: 'e', found: 'f', fix: 'x' }) as const;
  const text = renderPreflight({ ok: false, findings: [finding('b', 'warn'), finding('a', 'stop')] }, plain);
  expect(text.split('\n')[0]).toBe('STOP  a (blue)');
  expect(text).toContain('Not ready: 1 to mend. 1 worth reading.');
});

it('verify: names, never values, and not a screen full of them', () => {
  const text = renderVerify({
    clean: false,
    lsn: '0/1',
    rows_compared: 23_000,
    mismatches: Array.from({ length: 30 }, (_, i) => ({
      table: 'user',
      key: String(i),
      kind: 'different' as const,
      columns: ['email'],
    })),
    mapped: 22_990,
    parked: { null_key: 1, empty_key: 2, duplicate: 7 },
    duration_seconds: 1.5,
  });
  expect(text.split('\n')).toHaveLength(23);
  expect(text).toContain(' different  user  key 0  email');
  expect(text).toContain('30 differences in 23.0k rows at 0/1, 1.5 s.');
  expect(text).toContain('parked 10 (null key 1, empty key 2, duplicate 7)');
});

it('numbers for people', () => {
  expect([0, 412, 9_999, 23_000, 41_200_000, null].map(compact)).toEqual([
    '0',
    '412',
    '9999',
    '23.0k',
    '41.2M',
    '–',
  ]);
  expect([0, 3_100, 48e6, 63e9, undefined].map(bytes)).toEqual(['0 B', '3.1 kB', '48 MB', '63 GB', '–']);
  expect([0.284, 1.25, 12.4, null].map(seconds)).toEqual(['0.28 s', '1.3 s', '12 s', '–']);
  expect([7, 1_084, 11_520, 90_000].map(duration)).toEqual(['7s', '18m04s', '3h12m', '1d01h']);
  expect([bar(0, 4), bar(0.5, 4), bar(2, 4)]).toEqual(['░░░░', '██░░', '████']);
});

describe('abort and finalize', () => {
  const end = {
    outcome: 'done',
    phase: 'finalized',
    serving: 'green',
    left: ['the closed fence of blue'],
    next_steps: [],
  } as const;

  it('say what is left and who takes writes; the certificate comes first', () => {
    const certificate = {
      kind: 'cutover',
      freeze_seconds: 0.507323,
      gates: [{ passed: true }, { passed: false }],
      steps: [{ ok: true }, { ok: true }],
      sweep_lsn: null,
    };
    expect(renderEnd({ ...end, certificate }, 'finalize').split('\n')).toEqual([
      'Certificate of the last handover',
      ' kind           cutover',
      ' freeze_seconds 0.51 s',
      ' gates          1/2',
      ' steps          2',
      ' sweep_lsn      –',
      ' left: the closed fence of blue',
      'Done: finalized. green takes writes.',
    ]);
  });

  it('an unfinished abort says to run it again', () => {
    const text = renderEnd({ ...end, outcome: 'unfinished', phase: 'aborting', serving: 'blue' }, 'abort');
    expect(text).toContain('Not finished: run orchestrate abort again. blue takes writes.');
  });
});

/** What a person sees on a terminal of 80 columns at each station of a migration: no line of it is wider. */
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { reportFailure } from '../../orchestrator/cli/failure-report.ts';
import { renderEnd } from '../../orchestrator/cli/render/ending.ts';
import { renderHandover, renderStep, wayOf } from '../../orchestrator/cli/render/handover.ts';
import { renderPreflight } from '../../orchestrator/cli/render/preflight.ts';
import { progressLine } from '../../orchestrator/cli/render/progress.ts';
import { renderStatus } from '../../orchestrator/cli/render/status.ts';
import { renderVerify } from '../../orchestrator/cli/render/verify.ts';
import { createTerminal, type Terminal } from '../../orchestrator/cli/terminal.ts';
import { wrap } from '../../orchestrator/cli/wrap.ts';
import { failure } from '../../orchestrator/errors/failure.ts';
import { Book } from '../../orchestrator/rehearsal/book.ts';
import { summaryOf } from '../../orchestrator/rehearsal/report-text.ts';
import { GATES, STEPS, type StatusDocument } from '../../orchestrator/state/documents.ts';
import { sampleReport } from '../support/sample-report.ts';

const COLUMNS = 80;
const now = new Date('2026-01-02T14:00:00Z');

/** A terminal with colours, and what stands on it in the end. */
function screen(columns = COLUMNS): { terminal: Terminal; lines: () => string[] } {
  let sent = '';
  const stream = () => {
    const made = Object.assign(new PassThrough(), { isTTY: true, columns });
    made.setEncoding('utf8').on('data', (text: string) => {
      sent += text;
    });
    return made;
  };
  const terminal = createTerminal({
    stdin: { isTTY: true },
    stdout: stream(),
    stderr: stream(),
    environment: { TERM: 'xterm' },
    json: false,
  });
  return {
    terminal,
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal takes as orders
    lines: () => sent.replaceAll(/\u001b\[[0-9;]*[A-Za-z]/g, '').split(/[\r\n]+/),
  };
}

const status: StatusDocument = {
  migration: 'user-settings-org-of-accounts',
  phase: 'syncing',
  since: '2026-01-02T10:48:00Z',
  generation: 0,
  stopped: null,
  unreachable: [],
  serving: 'blue',
  standby: 'green',
  direction: 'forward',
  copy: { rows_done: 141_200_000, rows_expected: 141_200_000, eta: null },
  lag: { seconds: 0.21, bytes: 3_100, changes_per_second: 14_012, errors: 12 },
  slot: { name: 's', wal_status: 'unreserved', retained_bytes: 48e9, safe_bytes: 63e9 },
  verify: {
    last_success: '2026-01-02T13:38:00Z',
    mismatched: 0,
    delta_keys: 1_204_000,
    parked: 12_000,
    rows_compared: 141_200_000,
  },
  freeze: { predicted_seconds: 0.3, budget_seconds: 10, last_rehearsal_seconds: 0.28 },
  gates: GATES.map((name) => ({ name, passed: true, detail: '' })),
  next_steps: ['orchestrate cutover --dry-run', 'orchestrate verify', 'orchestrate cutover'],
  lock_waits: [
    {
      side: 'green',
      pid: 12345,
      ours: true,
      seconds: 92,
      mode: 'ShareRowExclusiveLock',
      relation: 'public.user_settings',
      blocked_by: [
        { pid: 23456, ours: false },
        { pid: 0, ours: false },
      ],
    },
  ] as unknown as NonNullable<StatusDocument['lock_waits']>,
};

const error = failure('GATES_CLOSED', {
  serving: 'blue',
  message:
    'the handover was not begun, because some of what has to hold before it does not hold at this moment',
  expected: 'every gate passed: the last full comparison clean and at most 1 h old, and its keys known',
  found: `sweep: ${'none has been clean since the definition of user_settings was changed, '.repeat(3)}`,
  fix: 'orchestrate verify --repair; orchestrate cutover --dry-run --accept-parked all --max-sweep-age 2h',
}).toDocument();

const stations: Readonly<Record<string, (terminal: Terminal) => void>> = {
  copy: (terminal) => {
    terminal.sticky?.(
      progressLine({
        work: 'copying',
        rowsDone: 141_200_000,
        rowsExpected: 999_900_000,
        bytes: 193e9,
        rate: 181_234.5,
        etaSeconds: 86_000,
      }),
    );
    terminal.note('');
    terminal.sticky?.(null);
    terminal.write(
      `${renderStatus({ ...status, phase: 'copying', copy: { rows_done: 141_200_000, rows_expected: 999_900_000, eta: '2026-01-02T19:00:00Z' } }, { style: terminal.out, columns: terminal.columns, now })}\n`,
    );
  },
  sync: (terminal) =>
    terminal.redraw(renderStatus(status, { style: terminal.out, columns: terminal.columns, now })),
  cutover: (terminal) => {
    terminal.note(
      'user-settings-org-of-accounts: BLUE → GREEN, traffic=pgbouncer, budget 10 s, predicted 0.3 s',
    );
    for (const step of STEPS)
      terminal.note(
        renderStep(
          { step, seconds: 10.31, ok: true, note: '1,204,000 keys, sequences, writes on green 14:02:07.398' },
          wayOf('cutover'),
          true,
          terminal.err,
        ),
      );
    terminal.write(
      renderHandover(
        {
          outcome: 'done',
          kind: 'cutover',
          serving: 'green',
          freeze_seconds: 0.284,
          budget_seconds: 10,
          steps: [],
          certificate: null,
          next_steps: [
            'orchestrate status --watch',
            'orchestrate revert',
            'orchestrate finalize (after the soak)',
          ],
          not_revertible: [
            { what: 'second members of an organisation, with roles that are not admin', rows: 12 },
          ],
        },
        'cutover',
        terminal.columns,
        terminal.out,
      ),
    );
    terminal.write(
      renderEnd(
        {
          outcome: 'done',
          phase: 'finalized',
          serving: 'green',
          left: [
            'the closed fence of blue: the trigger orchestrate_fence on public.user_settings and its function',
          ],
          next_steps: [],
          certificate: {
            source: { system_identifier: '7', slot: 'orchestrate_user_settings_org_of_accounts' },
          },
        },
        'finalize',
      ),
    );
  },
  failure: (terminal) => {
    terminal.note(reportFailure(error, terminal.err));
    terminal.write(
      renderHandover(
        {
          outcome: 'no-go',
          kind: 'cutover',
          serving: 'blue',
          freeze_seconds: null,
          budget_seconds: 10,
          steps: [],
          certificate: null,
          gates: GATES.map((name) => ({
            name,
            passed: false,
            detail: 'expected at most 16777216 bytes behind, found 1099511627776 bytes at 2A/7F0011D8',
          })),
          next_steps: [],
        },
        'cutover',
        terminal.columns,
        terminal.out,
      ),
    );
    terminal.write(
      renderStatus(
        { ...status, stopped: error, unreachable: ['green'] },
        { style: terminal.out, columns: terminal.columns, now },
      ),
    );
  },
  preflight: (terminal) =>
    terminal.write(
      renderPreflight(
        {
          ok: false,
          findings: [
            {
              check: 'foreign-session',
              side: 'blue',
              severity: 'stop',
              expected: 'no session but ours uses the login orchestrate_sync, which passes the fence',
              found: 'pid 12345 (a job that nobody remembers, 10.0.0.5), pid 12346 (psql, 10.0.0.6)',
              fix: 'end it: SELECT pg_terminate_backend(pid); and give it a login of its own',
            },
          ],
        },
        terminal.out,
      ),
    ),
  verify: (terminal) =>
    terminal.write(
      renderVerify({
        clean: false,
        lsn: '2A/7F0011D8',
        rows_compared: 141_200_000,
        mismatches: [
          {
            table: 'settings',
            key: '141200000',
            kind: 'different',
            columns: ['sandbox_runtime_container_image', 'remote_runtime_resource_factor', 'llm_base_url'],
          },
        ],
        mapped: 141_000_000,
        parked: { null_key: 100_001, empty_key: 200_002, duplicate: 700_007 },
        duration_seconds: 1.5,
      }),
    ),
  rehearsal: (terminal) => terminal.write(summaryOf({ ...sampleReport(true), report_directory: null })),
};

/** The lines of a station that are wider than 80 columns, on a terminal of so many. */
function tooWide(show: (terminal: Terminal) => void, columns = COLUMNS): string[] {
  const { terminal, lines } = screen(columns);
  // As execute.ts writes a result: with a line's end.
  show({ ...terminal, write: (text) => terminal.write(`${text}\n`) });
  expect(lines().length).toBeGreaterThan(2);
  return lines().filter((line) => line.length > COLUMNS);
}

describe('80 columns are enough for', () => {
  it.each(Object.entries(stations))('%s', (_name, show) => {
    expect(tooWide(show)).toEqual([]);
  });

  it.each(Object.entries(stations))('%s, and what is wider would be seen', (_name, show) => {
    expect(tooWide((terminal) => show({ ...terminal, columns: 200 }), 200).length).toBeGreaterThan(0);
  });

  it('the stages of a rehearsal', async () => {
    const { terminal, lines } = screen();
    const book = new Book({ note: (line) => terminal.note(line) });
    await book.stage(
      'cutover 1',
      async () => 0,
      () => 'writes on green · no write for 1389.7 ms of 10 s (frozen 1390 ms) · longest 1757.6 ms',
    );
    book.fail('finalize', 'nothing of ours left behind', 'green: '.repeat(20));
    expect(lines()[1]).toBe(`${' '.repeat(32)}(frozen 1390 ms) · longest 1757.6 ms`);
    expect(lines().filter((line) => line.length > COLUMNS)).toEqual([]);
  });
});

describe('a line that is too wide', () => {
  it('is broken at spaces, and goes on below its text', () => {
    expect(wrap('  expected  one two three four five', 24).split('\n')).toEqual([
      '  expected  one two',
      '            three four',
      '            five',
    ]);
  });

  it('goes on below the text of a stage and of a total', () => {
    expect(wrap(' ✓ proof   0.8 s  1709 lost, 0 differences', 38).split('\n')).toEqual([
      ' ✓ proof   0.8 s  1709 lost, 0',
      `${' '.repeat(18)}differences`,
    ]);
    expect(wrap('Writes    3403 offered, 0 unknown', 26).split('\n')).toEqual([
      'Writes    3403 offered, 0',
      `${' '.repeat(10)}unknown`,
    ]);
  });

  it('goes on below the text of a line of the log, whatever its level', () => {
    expect(wrap('2026-01-02T03:04:05.678Z ERROR the stream has stopped', 48).split('\n')).toEqual([
      '2026-01-02T03:04:05.678Z ERROR the stream has',
      `${' '.repeat(31)}stopped`,
    ]);
  });

  it('keeps an option with its value', () => {
    expect(wrap('accept them: --accept-parked 27', 30)).toBe('accept them:\n--accept-parked 27');
  });

  it('keeps a word whole, and counts no colours', () => {
    const path = '/a/path/that/is/longer/than/the/line';
    expect(wrap(`Report    ${path}`, 20)).toContain(path);
    expect(wrap('\u001b[31mred\u001b[39m words', 9)).toBe('\u001b[31mred\u001b[39m words');
  });

  it('is left alone where no terminal is', () => {
    const stdout = new PassThrough();
    createTerminal({ stdin: {}, stdout, stderr: new PassThrough(), environment: {}, json: false }).write(
      'word '.repeat(40),
    );
    expect(String(stdout.read())).toBe('word '.repeat(40));
  });
});

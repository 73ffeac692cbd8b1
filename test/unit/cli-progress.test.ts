import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { progressLine } from '../../orchestrator/cli/render/progress.ts';
import { createTerminal } from '../../orchestrator/cli/terminal.ts';

const known = {
  work: 'copying',
  rowsDone: 412_000,
  rowsExpected: 1_000_000,
  bytes: 193e6,
  rate: 81_234.5,
  etaSeconds: 67.4,
};

describe('the line of a copy', () => {
  it('tells rows, bytes, rate and what is left', () => {
    expect(progressLine(known)).toBe(
      'copying  ████░░░░░░ 41 %  412.0k of 1.0M rows  193 MB  81.2k/s  1m07s left',
    );
  });

  it('says nothing of what is unknown', () => {
    expect(progressLine({ ...known, rowsExpected: null, rate: null, etaSeconds: null })).toBe(
      'copying  412.0k rows  193 MB',
    );
  });
});

/** A terminal of 20 columns, and what it has been sent. */
function watched(over: { isTTY?: boolean; TERM?: string; json?: boolean } = {}) {
  const stderr = Object.assign(new PassThrough(), { isTTY: over.isTTY ?? true, columns: 20 });
  const terminal = createTerminal({
    stdin: {},
    stdout: new PassThrough(),
    stderr,
    environment: { TERM: over.TERM ?? 'xterm' },
    json: over.json ?? false,
  });
  return { terminal, sent: () => String(stderr.read() ?? '') };
}

describe('a line at the end of a terminal', () => {
  it('is replaced, kept below what is noted, cut before it wraps, and taken away', () => {
    const { terminal, sent } = watched();
    terminal.sticky?.('one');
    terminal.sticky?.('one');
    terminal.sticky?.('a line of more than twenty columns');
    terminal.note('a fact');
    terminal.sticky?.(null);
    terminal.note('the end');
    expect(sent().split('\r\u001b[K')).toEqual([
      '',
      'one',
      'a line of more than',
      'a fact\na line of more than',
      'the end\n',
    ]);
  });

  it.each([{ isTTY: false }, { TERM: 'dumb' }, { json: true }])('there is none with %o', (over) => {
    const { terminal, sent } = watched(over);
    expect(terminal.sticky).toBeUndefined();
    terminal.note('a fact');
    expect(sent()).toBe('a fact\n');
  });
});

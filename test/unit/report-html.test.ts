import { describe, expect, it } from 'vitest';
import { chartOf } from '../../orchestrator/rehearsal/ledger/series.ts';
import { ticks } from '../../orchestrator/rehearsal/report-chart.ts';
import { htmlOf } from '../../orchestrator/rehearsal/report-html.ts';
import { sampleReport } from '../support/sample-report.ts';
import { schemaProblems } from '../support/schemas/validate.ts';

describe('the report as a page', () => {
  it.each([false, true])('is one file that loads nothing (failed: %s)', (failed) => {
    const html = htmlOf(sampleReport(failed));
    expect(schemaProblems('rehearse', sampleReport(failed))).toEqual([]);
    expect(html).not.toMatch(
      /<(?:script|link|img|iframe|object)\b|\b(?:src|href|url)\s*[=(]|@import|https?:/i,
    );
    expect(html).toContain(failed ? '✗ failed' : '✓ passed');
    for (const tag of ['svg', 'table', 'section', 'ul', 'style', 'body'])
      expect(html.split(`<${tag}`).length, tag).toBe(html.split(`</${tag}>`).length);
    expect(html.match(/class="freeze" x/g)?.length).toBeGreaterThan(5);
    expect(html).not.toMatch(/NaN|undefined|Infinity/);
  });

  it("shows the guide's figures of both sides", () => {
    expect(htmlOf(sampleReport(false))).toContain(
      '<td>writes refused in the transition</td><td>40</td><td>21</td>',
    );
  });

  it('says what did not hold, and lets no text become markup', () => {
    const html = htmlOf(sampleReport(true));
    expect(html).toContain('aborted: a key &lt;differs&gt; &amp; more');
    expect(html).toContain('REHEARSAL_FAILED');
    expect(html).toContain('bar failed');
    // What was taken back has stopped writes too.
    const taken = html.slice(html.indexOf('revert 1: aborted: time of each step')).split('</svg>')[0];
    expect(taken).toContain('class="freeze"');
  });

  it('says what stopped it, where nothing else was judged', () => {
    expect(htmlOf({ ...sampleReport(true), failures: [] })).toContain(
      '<td>servers</td><td>the handover done</td><td>aborted</td>',
    );
  });

  it('is a page too when nothing was reached', () => {
    const html = htmlOf({
      ...sampleReport(true),
      handovers: [],
      checks: [],
      chart: null,
      lag: [],
      copy: null,
      rows: null,
      workload: null,
    });
    expect(html).toContain('Not reached');
    expect(html).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe('ticks', () => {
  it.each([
    [0.9, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [42, [0, 10, 20, 30, 40, 50]],
    [1, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [700, [0, 200, 400, 600, 800]],
  ])('up to %d', (max, expected) => expect(ticks(max, 5)).toEqual(expected));
});

describe('what the clients felt, in buckets', () => {
  it('counts every write once and shades where there was none', () => {
    const write = (ms: number) => ({
      op: String(ms),
      kind: 'update',
      side: 'blue' as const,
      sentMs: ms - 2,
      lastSentMs: ms - 2,
      acknowledgedMs: ms,
    });
    const waits = [...Array(40).keys()]
      .map((i) => write(10_000 + i * 50))
      .filter((w) => w.acknowledgedMs < 10_700 || w.acknowledgedMs > 11_300);
    const marks = [
      { name: 'cutover 1:begin', monoMs: 10_500, wall: 0 },
      { name: 'cutover 1:end', monoMs: 11_800, wall: 0 },
    ];
    const span = { fromMs: 10_000, toMs: 12_000 };
    const chart = chartOf({ waits, failedByCode: new Map(), unknown: 0, marks, span }, 9_000);
    expect(chart?.points.reduce((sum, p) => sum + p.acknowledged, 0)).toBe(waits.length);
    expect(chart?.points.map((p) => p.at_seconds)).toEqual([1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3]);
    expect(chart?.points.find((p) => p.at_seconds === 2)?.p50_ms).toBeNull();
    expect(chart?.freezes).toEqual([{ name: 'cutover 1', from_seconds: 1.65, to_seconds: 2.35 }]);
    expect(chartOf({ waits: [], failedByCode: new Map(), unknown: 0, marks, span }, 0)).toBeNull();
  });
});

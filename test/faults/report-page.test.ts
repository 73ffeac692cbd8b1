/** The report in a real browser: nothing lies on anything else, and nothing but a table scrolls sideways. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { htmlOf } from '../../orchestrator/rehearsal/report-html.ts';
import { sampleReport } from '../support/sample-report.ts';
import { requireTool } from '../support/tool.ts';

const chromium = requireTool('chromium', 'apt-get install chromium');
const directory = mkdtempSync(join(tmpdir(), 'page-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs in the page: texts of a drawing that touch each other, what is wider than the page, and the colours. */
const LOOK = `<script>addEventListener('load', () => {
  const wrong = [];
  for (const svg of document.querySelectorAll('svg')) {
    const texts = [...svg.querySelectorAll('text')].map((t) => [t.textContent, t.getBoundingClientRect()]);
    const edge = svg.getBoundingClientRect();
    for (const [i, [a, p]] of texts.entries()) {
      if (p.right > edge.right + 1 || p.left < edge.left - 1) wrong.push('cut off: ' + a);
      for (const [b, q] of texts.slice(i + 1))
        if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2)
          wrong.push(a + ' lies on ' + b);
    }
  }
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) wrong.push('the page scrolls sideways: ' + root.scrollWidth);
  const seen = { wrong, drawings: document.querySelectorAll('svg').length, back: getComputedStyle(document.body).backgroundColor };
  document.body.innerHTML = '<pre id="seen">' + JSON.stringify(seen).replaceAll('<', ' ') + '</pre>';
})</script>`;

interface Seen {
  readonly wrong: string[];
  readonly drawings: number;
  readonly back: string;
}

function looked(html: string, width: number, dark = false): Seen {
  const file = join(directory, 'report.html');
  writeFileSync(file, html.replace('</body>', `${LOOK}</body>`));
  const { stdout } = spawnSync(
    chromium.found ? chromium.path : 'chromium',
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      `--user-data-dir=${join(directory, 'profile')}`,
      `--window-size=${width},1000`,
      ...(dark ? ['--force-dark-mode'] : []),
      '--dump-dom',
      `file://${file}`,
    ],
    { encoding: 'utf8', timeout: 60_000 },
  );
  const text = /<pre id="seen">(.*)<\/pre>/.exec(stdout)?.[1];
  if (text === undefined) throw new Error('the browser showed nothing');
  return JSON.parse(text.replaceAll('&gt;', '>').replaceAll('&amp;', '&')) as Seen;
}

describe.skipIf(!chromium.found)('the report in a browser', () => {
  it.each([
    [1_000, false],
    [500, true],
  ])('%d wide, failed: %s', (width, failed) => {
    const seen = looked(htmlOf(sampleReport(failed)), width);
    expect(seen.wrong).toEqual([]);
    expect(seen.drawings).toBe(failed ? 5 : 6);
    expect(seen.back).toBe('rgb(255, 255, 255)');
  });

  it('is dark where the reader is', () => {
    expect(looked(htmlOf(sampleReport()), 1_000, true).back).toBe('rgb(21, 24, 28)');
  });

  it('what lies on something else, or makes the page too wide, would be seen', () => {
    const html = htmlOf(sampleReport());
    const close = html.replaceAll(
      /(<text class="tick" x=")\d+(\.\d+)?(" y="\d+" text-anchor="middle">)/g,
      '$1100$3',
    );
    expect(looked(close, 1_000).wrong.length).toBeGreaterThan(5);
    expect(looked(html.replaceAll('overflow-x: auto', 'overflow-x: visible'), 500).wrong.join()).toContain(
      'sideways',
    );
  });
});

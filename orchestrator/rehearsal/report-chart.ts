/**
 * Charts as inline SVG: no script, no font and no file of elsewhere is needed to read them, on paper neither. Colours are
 * classes of report-html.ts, so that light, dark and print each have their own.
 */

export interface Series {
  readonly name: string;
  /** 1 to 3: which colour. */
  readonly tone: 1 | 2 | 3;
  /** null breaks the line. */
  readonly points: readonly (readonly [seconds: number, value: number | null])[];
}

export interface Chart {
  readonly title: string;
  /** Stands beside the title: what the y axis counts. */
  readonly unit: string;
  readonly series: readonly Series[];
  readonly freezes: readonly { readonly name: string; readonly from: number; readonly to: number }[];
  readonly toSeconds: number;
  /** Values over several orders of magnitude. */
  readonly logarithmic?: boolean;
}

const WIDTH = 720;
const LEFT = 52;
const RIGHT = 12;
const TOP = 30;
const HEIGHT = 150;
const BOTTOM = 40;

export const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

const round = (value: number): number => Math.round(value * 10) / 10;

/** @returns steps of 1, 2 or 5 times a power of ten, from 0 to at least `max`. */
export function ticks(max: number, about: number): number[] {
  const rough = Math.max(max, 1e-9) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((n) => n * power >= rough) ?? 10) * power;
  const count = Math.max(1, Math.ceil(max / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}

/** `1200` → `1.2k`. */
const short = (value: number): string =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : String(value);

/** A chart over the time of the rehearsal, with every freeze shaded. */
export function timeChart(chart: Chart): string {
  const values = chart.series.flatMap((s) => s.points.flatMap(([, v]) => (v === null ? [] : [v])));
  const max = Math.max(...values, 1);
  const yTicks = chart.logarithmic
    ? Array.from({ length: Math.max(2, Math.ceil(Math.log10(max)) + 1) }, (_, i) => 10 ** i)
    : ticks(max, 4);
  const top = yTicks.at(-1) ?? 1;
  const xTicks = ticks(chart.toSeconds, 8).filter((s) => s <= chart.toSeconds);
  const end = chart.toSeconds;
  const x = (seconds: number): number => round(LEFT + ((WIDTH - LEFT - RIGHT) * seconds) / end);
  const share = (v: number): number =>
    chart.logarithmic ? Math.log10(Math.max(v, 1)) / Math.log10(top) : v / top;
  const y = (value: number): number => round(TOP + HEIGHT * (1 - share(value)));
  const base = TOP + HEIGHT;
  const parts = [
    ...chart.freezes.map(
      ({ name, from, to }) =>
        `<rect class="freeze" x="${x(from)}" y="${TOP}" width="${Math.max(2, round(x(to) - x(from)))}" height="${HEIGHT}"><title>${escaped(name)}: no write for ${Math.round((to - from) * 1000)} ms</title></rect>`,
    ),
    ...yTicks.map(
      (v) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(v)}" y2="${y(v)}"/><text class="tick" x="${LEFT - 6}" y="${y(v) + 4}" text-anchor="end">${short(v)}</text>`,
    ),
    ...xTicks.map(
      (s) =>
        `<line class="axis" x1="${x(s)}" x2="${x(s)}" y1="${base}" y2="${base + 4}"/><text class="tick" x="${x(s)}" y="${base + 17}" text-anchor="middle">${s}</text>`,
    ),
    `<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${base}" y2="${base}"/>`,
    `<text class="tick" x="${WIDTH - RIGHT}" y="${base + 33}" text-anchor="end">seconds since the rehearsal began</text>`,
    ...chart.series.map((s) => `<path class="line tone${s.tone}" d="${pathOf(s, x, y)}"/>`),
    ...legend(chart),
  ];
  return `<svg viewBox="0 0 ${WIDTH} ${base + BOTTOM}" role="img" aria-label="${escaped(`${chart.title}, ${chart.unit}`)}">${parts.join('')}</svg>`;
}

function pathOf(series: Series, x: (s: number) => number, y: (v: number) => number): string {
  let pen = 'M';
  return series.points
    .map(([seconds, value]) => {
      if (value === null) {
        pen = 'M';
        return '';
      }
      const step = `${pen}${x(seconds)} ${y(value)}`;
      pen = 'L';
      return step;
    })
    .join('');
}

/** Title on the left, names of the series on the right: a character is at most 7 wide. */
function legend(chart: Chart): string[] {
  const parts = [
    `<text class="title" x="0" y="14">${escaped(chart.title)} <tspan class="tick">${escaped(chart.unit)}</tspan></text>`,
  ];
  let right = WIDTH - RIGHT;
  const entries = chart.series.map((s) => ({ name: s.name, mark: `tone${s.tone}` }));
  if (chart.freezes.length > 0) entries.push({ name: 'freeze', mark: 'freeze' });
  for (const { name, mark } of entries.reverse()) {
    right -= name.length * 7 + 32;
    const swatch =
      mark === 'freeze'
        ? `<rect class="freeze" x="${right}" y="4" width="12" height="12"/>`
        : `<path class="line ${mark}" d="M${right} 10h12"/>`;
    parts.push(`${swatch}<text class="tick" x="${right + 16}" y="14">${escaped(name)}</text>`);
  }
  return parts;
}

/** One bar a step, each beginning where the one before it ended; what clients feel is shaded. */
export function waterfall(
  title: string,
  steps: readonly { readonly step: string; readonly seconds: number; readonly ok: boolean }[],
): string {
  const [label, row, right] = [84, 20, 68];
  const total = steps.reduce((sum, s) => sum + s.seconds, 0);
  const xTicks = ticks(total, 5);
  const end = xTicks.at(-1) ?? 1;
  const x = (seconds: number): number => round(label + ((WIDTH - label - right) * seconds) / end);
  const base = TOP + steps.length * row;
  let at = 0;
  const bars: string[] = [];
  let from: number | undefined;
  let to: number | undefined;
  for (const [i, s] of steps.entries()) {
    const y = TOP + i * row;
    if (s.step === 'freeze') from = at;
    bars.push(
      `<text class="tick" x="${label - 8}" y="${y + 14}" text-anchor="end">${escaped(s.step)}</text>`,
      `<rect class="${s.ok ? 'bar' : 'bar failed'}" x="${x(at)}" y="${y + 4}" width="${Math.max(1.5, round(x(at + s.seconds) - x(at)))}" height="${row - 8}"/>`,
      `<text class="figure" x="${round(x(at + s.seconds) + 5)}" y="${y + 14}">${s.seconds.toFixed(3)} s</text>`,
    );
    at += s.seconds;
    if (s.step === 'open') to = at;
  }
  // An attempt that was taken back has held writes until its last step.
  to ??= at;
  const felt =
    from === undefined
      ? ''
      : `<rect class="freeze" x="${x(from)}" y="${TOP}" width="${Math.max(2, round(x(to) - x(from)))}" height="${base - TOP}"/>`;
  const axis = xTicks.map(
    (s) =>
      `<line class="grid" x1="${x(s)}" x2="${x(s)}" y1="${TOP}" y2="${base}"/><text class="tick" x="${x(s)}" y="${base + 16}" text-anchor="middle">${s} s</text>`,
  );
  return `<svg viewBox="0 0 ${WIDTH} ${base + 24}" role="img" aria-label="${escaped(`${title}: time of each step`)}"><text class="title" x="0" y="14">${escaped(title)} <tspan class="tick">time of each step, the freeze shaded</tspan></text>${felt}${axis.join('')}${bars.join('')}</svg>`;
}

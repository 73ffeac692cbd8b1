import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../orchestrator/cli/commands.ts';
import { parseCommandLine } from '../../orchestrator/cli/program.ts';
import { environmentName, OPTION_NAMES } from '../../orchestrator/config/tree.ts';
import { CATALOGUE, type ErrorCode } from '../../orchestrator/errors/catalogue.ts';
import { failure } from '../../orchestrator/errors/failure.ts';
import { METRIC_NAMES, metricEntry, PREFIX } from '../../orchestrator/metrics/names.ts';
import { GATES, STEPS } from '../../orchestrator/state/documents.ts';
import { MOVES, type Phase } from '../../orchestrator/state/state.ts';
import { blocksOf, commandsOf, wordsOf } from '../support/readme/blocks.ts';
import { commandLinesOf } from '../support/readme/command-line.ts';
import { fillIn } from '../support/readme/markdown.ts';
import { generated, README } from '../support/readme/write.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const text = readFileSync(README, 'utf8');
const blocks = blocksOf(text);
const shell = blocks.filter((b) => b.language === 'sh');
/** The text outside of fences, and what stands in it as code; headings name commands with their alternatives. */
const prose = text.replaceAll(/^```[\s\S]*?^```$/gm, '');
const spans = prose
  .split('\n')
  .filter((line) => !line.startsWith('#'))
  .flatMap((line) => [...line.matchAll(/`([^`]+)`/g)].map((m) => (m[1] ?? '').replaceAll('\\|', '|')));

/** Parses a command line with the program's own parser; nothing is executed. */
async function understood(args: readonly string[]): Promise<void> {
  const line = args.join(' ');
  const parsed = seen.get(line) ?? parseCommandLine(args, 80);
  seen.set(line, parsed);
  await parsed;
}
const seen = new Map<string, Promise<unknown>>();

/** Who executes a shell block, by its marks. A block without one of these would be executed by nobody. */
const EXECUTED: Readonly<Record<string, string>> = {
  ci: '.ci/run',
  'ci rehearse': '.ci/run, and the smaller one in test/e2e/readme.test.ts',
  rehearse: 'test/e2e/readme.test.ts',
  'drill terminal-1': 'test/e2e/readme.test.ts',
  'drill terminal-2': 'test/e2e/readme.test.ts',
  'drill terminal-3': 'test/e2e/readme.test.ts',
  docs: 'test/unit/readme.test.ts',
  chart: 'test/chart/chart.test.ts',
  dashboard: 'test/e2e/readme.test.ts, against what Grafana asks of an import',
  staging: 'test/faults/rehearse-staging.test.ts',
  application: 'test/faults/package.test.ts, with the packed package',
};

describe('generated sections', () => {
  it('are as the program is now', () => {
    expect(generated(text) === text, 'README.md is stale: run `npm run docs`').toBe(true);
  });

  it('cannot be forgotten: marks without a generator and generators without marks are errors', () => {
    expect(() => fillIn('', { states: 'x' })).toThrow('no marks');
    expect(() => fillIn('<!-- generated: old (npm run docs) -->\n<!-- end of generated -->', {})).toThrow(
      'old',
    );
  });

  it('the diagram has every legal move, and no other', () => {
    const diagram = blocks.find((b) => b.language === 'mermaid')?.text ?? '';
    const drawn = [...diagram.matchAll(/^ {2}(\S+) --> (\S+)$/gm)].map(([, from, to]) => `${from} ${to}`);
    const name = (phase: string) => phase.replaceAll('-', '_');
    const legal = Object.entries(MOVES).flatMap(([from, all]) =>
      all.map((to) => `${name(from)} ${name(to)}`),
    );
    const ends = (Object.keys(MOVES) as Phase[])
      .filter((p) => MOVES[p].length === 0)
      .map((p) => `${name(p)} [*]`);
    expect(drawn.toSorted()).toEqual([...legal, ...ends, '[*] created'].toSorted());
    for (const phase of Object.keys(MOVES)) expect(text).toContain(`\n| \`${phase}\` | `);
  });

  it('name every step and gate of a handover, in order', () => {
    const rows = [...text.matchAll(/^\| (\d+) \| `(\w+)` \|/gm)].map((m) => `${m[1]} ${m[2]}`);
    expect(rows).toEqual(STEPS.map((step, i) => `${i + 1} ${step}`));
    const from = text.indexOf('| gate |');
    const gates = [...text.slice(from, text.indexOf('<!--', from)).matchAll(/^\| `(\w+)` \|/gm)];
    expect(gates.map((m) => m[1])).toEqual([...GATES]);
  });

  it.each(Object.keys(CATALOGUE) as ErrorCode[])('%s stands where its errors say it does', async (code) => {
    const error = failure(code).toDocument();
    const id = error.runbook.replace('README.md#', '');
    expect(text.split(`<a id="${id}"></a>`)).toHaveLength(2);
    expect(text).toContain(`<a id="${id}"></a>\`${code}\` | ${CATALOGUE[code].exit} | `);
    for (const { args } of commandLinesOf(error.fix)) await understood(args);
  });

  it('name every metric with its type and labels, and no other', () => {
    for (const name of METRIC_NAMES) {
      const entry = metricEntry(name);
      const labels = entry?.labels.map((label) => `\`${label}\``).join(', ');
      expect(text).toContain(`\n| \`${PREFIX}${name}\` | ${entry?.type} | ${labels} |`);
    }
    const known = [...METRIC_NAMES.map((name) => `${PREFIX}${name}`), 'orchestrate_sync'];
    const named = [...text.matchAll(/\borchestrate_[a-z_]+/g)].map(([name]) => name);
    expect(named.filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe('shell blocks', () => {
  it.each(shell.map((b) => [b.line, b.marks.join(' '), b]))(
    'line %s is executed: %s',
    (_line, marks, block) => {
      expect(Object.keys(EXECUTED)).toContain(marks);
      expect(commandsOf(block).length).toBeGreaterThan(0);
    },
  );

  it('other blocks are SQL and TypeScript that a test executes, a diagram, or plain text', () => {
    const others = blocks.filter((b) => b.language !== 'sh').map((b) => [b.language, ...b.marks].join(' '));
    expect([...new Set(others)].toSorted()).toEqual([
      'mermaid',
      'sql green',
      'sql roles',
      'text',
      'ts after',
      'ts before',
    ]);
  });

  it('those of .ci/run are in it', () => {
    const ci = readFileSync(`${root}.ci/run`, 'utf8').replaceAll(' --silent', '');
    const commands = shell.filter((b) => b.marks.includes('ci')).flatMap(commandsOf);
    const elsewhere = commands.filter((command) => !ci.includes(command));
    expect(elsewhere).toEqual(['npm run rehearse']);
  });

  it('the whole rehearsal is what the smaller one is, with other numbers', () => {
    const [whole, smaller] = shell
      .filter((b) => b.marks.includes('rehearse'))
      .map((b) => commandsOf(b).at(-1));
    expect(whole).toBe('npm run rehearse');
    expect(smaller).toMatch(/^npm run rehearse -- /);
  });

  it('npm scripts and files exist', () => {
    const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { scripts: object };
    const named = [...text.matchAll(/\bnpm run ([\w:]+)/g)].map((m) => m[1] ?? '');
    expect(named.length).toBeGreaterThan(5);
    for (const name of named) expect(Object.keys(scripts)).toContain(name);
    const paths = spans.flatMap(
      (s) => s.match(/^(?:npx vitest run )?((?:src|test|orchestrator|\.ci)\/[\w./-]*)$/)?.[1] ?? [],
    );
    expect(paths.length).toBeGreaterThan(5);
    for (const path of paths) expect(existsSync(`${root}${path}`), path).toBe(true);
  });
});

describe('command lines', () => {
  const inBlocks = shell
    .flatMap(commandsOf)
    .map(wordsOf)
    .flatMap((words) =>
      words[0] === 'orchestrate'
        ? [words.slice(1)]
        : words.slice(0, 4).join(' ') === 'npm run rehearse --'
          ? [['rehearse', ...words.slice(4)]]
          : [],
    );
  const inProse = spans
    .filter((span) => span.startsWith('orchestrate '))
    .map((span) => wordsOf(span).slice(1));

  it('are found', () => {
    expect(inBlocks.length).toBeGreaterThan(10);
    expect(inProse.length).toBeGreaterThan(20);
  });

  it.each([...inBlocks, ...inProse].map((args) => [args.join(' '), args] as const))(
    'orchestrate %s',
    async (_line, args) => await understood(args),
  );

  it('a flag or a command that does not exist would be found', async () => {
    await expect(understood(['cutover', '--quickly'])).rejects.toThrow();
    await expect(understood(['cut'])).rejects.toThrow();
    await expect(understood(['migrate', 'sideways'])).rejects.toThrow();
  });

  it('flags and variables that are named alone exist too', () => {
    const flags = [...OPTION_NAMES, 'json', ...COMMANDS.flatMap((c) => Object.keys(c.flags))].map(
      (f) => `--${f}`,
    );
    const named = spans.filter((span) => span.startsWith('--')).map((span) => span.split(/[ =]/)[0] ?? '');
    expect(named.length).toBeGreaterThan(30);
    expect(named.filter((name) => !flags.includes(name))).toEqual([]);
    const variables = [...OPTION_NAMES.map(environmentName), 'ORCHESTRATE_TEST', 'ORCHESTRATE_FAILPOINT'];
    const used = [...text.matchAll(/\bORCHESTRATE_\w+/g)].map(([name]) => name);
    expect(used.filter((name) => !variables.includes(name))).toEqual([]);
  });
});

/** Every case of the troubleshooting is one that a test brings about. */
const TROUBLES: Readonly<Record<string, readonly [file: string, test: string]>> = {
  '057 stops at a row': [
    'test/faults/in-place.test.ts',
    'a row that the new tables refuse is named by its id, never by a value; mended, up goes on',
  ],
  'It was interrupted, or the connection was lost': [
    'test/faults/in-place.test.ts',
    'killed before, after and in any batch, and in the last pass, up goes on and ends right',
  ],
  'It waits, or the application does': [
    'test/faults/guide-advice.test.ts',
    'status and migrate status name who waits for a lock on the tables, and whom for',
  ],
  'The org tables hold rows already': [
    'test/faults/in-place.test.ts',
    'rows of somebody else in the org tables are refused and stay',
  ],
  'Fewer users than rows': [
    'test/integration/guide-cli.test.ts',
    'after 057 all queries agree, the account is exact, and everybody can log in',
  ],
  'Somebody cannot log in': [
    'test/integration/guide-cli.test.ts',
    'a row that came after 057 has no user: the account and the login say so',
  ],
  'It takes too long': [
    'test/faults/plan-in-place.test.ts',
    'counts, measures, and leaves everything as it was; indexes are advised by usage',
  ],
  'Back to where it was': [
    'test/faults/in-place.test.ts',
    'up, up, down, down, up, up: every state is what it was, in catalogs and bytes',
  ],
};

describe('troubleshooting', () => {
  it('every case has a test, and every test its case', () => {
    const from = text.indexOf('### When something goes wrong in place');
    const section = text.slice(from, text.indexOf('\n## ', from));
    const cases = [...section.matchAll(/^#### (.*)$/gm)].map((m) => m[1]);
    expect(cases).toEqual(Object.keys(TROUBLES));
    for (const [file, name] of Object.values(TROUBLES))
      expect(readFileSync(`${root}${file}`, 'utf8')).toContain(`it('${name}'`);
  });
});

describe('the page', () => {
  const headings = [...prose.matchAll(/^#{1,6} (.*)$/gm)].map((m) => m[1] ?? '');

  it('has its parts in order', () => {
    const parts = [...prose.matchAll(/^## (.*)$/gm)].map((m) => m[1]);
    expect(parts).toEqual([
      'What it promises, and what it does not',
      'Quick start',
      'A drill: cutover and revert',
      'Phases and states',
      'Inside one database',
      'For application code',
      'Commands',
      'Metrics',
      'Dashboard, alerts, Kubernetes',
      'Errors',
      'Roles and rights',
      'How it is tested',
      'Development',
    ]);
  });

  it('has no link that leads nowhere', () => {
    const slug = (heading: string) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-');
    const targets = new Set([
      ...headings.map(slug),
      ...[...text.matchAll(/<a id="([^"]+)">/g)].map((m) => m[1] ?? ''),
    ]);
    const links = [...prose.matchAll(/\]\(([^)]+)\)/g)].map((m) => m[1] ?? '');
    expect(links.length).toBeGreaterThan(20);
    const leads = (link: string) =>
      link.startsWith('#') ? targets.has(link.slice(1)) : existsSync(`${root}${link}`);
    expect(links.filter((link) => !link.startsWith('https://') && !leads(link))).toEqual([]);
  });
});

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { METRIC_NAMES, PREFIX } from '../../orchestrator/metrics/names.ts';
import { runbookProblems } from '../support/runbook.ts';
import { requireTool } from '../support/tool.ts';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: {
    readonly summary: string;
    readonly description: string;
    readonly runbook_url: string;
  };
}

const root = resolve(import.meta.dirname, '../..');
const rulesDir = join(root, 'grafana/rules');
const file = readFileSync(join(rulesDir, 'orchestrate.yaml'), 'utf8');
const rules = (parse(file) as { groups: { rules: Rule[] }[] }).groups.flatMap((g) => g.rules);
const cases = (
  parse(readFileSync(join(rulesDir, 'orchestrate.test.yaml'), 'utf8')) as { tests: { name: string }[] }
).tests.map((t) => t.name);
const promtool = requireTool('promtool', 'apt-get install prometheus');

const runbook = (rule: Rule): string => readFileSync(join(root, rule.annotations.runbook_url), 'utf8');

/** What promtool says of a copy of the rules, changed by `plant`: whether they are rules, or whether their cases hold. */
function promtoolSays(
  question: 'check' | 'test',
  plant: (rules: string) => string,
): { status: number | null; said: string } {
  const dir = mkdtempSync(join(tmpdir(), 'alerts-'));
  const asked = question === 'check' ? 'orchestrate.yaml' : 'orchestrate.test.yaml';
  try {
    cpSync(rulesDir, dir, { recursive: true });
    writeFileSync(join(dir, 'orchestrate.yaml'), plant(file));
    const { status, stderr } = spawnSync('promtool', [question, 'rules', asked], {
      cwd: dir,
      encoding: 'utf8',
    });
    return { status, said: stderr };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What is wrong with a rule by itself. */
function ruleProblems(rule: Rule): string[] {
  const known = new Set(METRIC_NAMES.map((name) => `${PREFIX}${name}`));
  const asked = [...rule.expr.matchAll(/\borchestrate_(\w+)/g)].map((m) => `${PREFIX}${m[1]}`);
  const wrong = asked.filter((name) => !known.has(name)).map((name) => `no such metric: ${name}`);
  if (!['warning', 'critical'].includes(rule.labels.severity)) wrong.push('no severity that we know');
  if (!/^\d+m$/.test(rule.for)) wrong.push('no time');
  const who = rule.alert === 'SyncDown' ? '$labels.job' : '$labels.migration';
  if (!rule.annotations.summary.includes(who)) wrong.push('its summary does not say which migration');
  if (rule.annotations.description === '') wrong.push('no description');
  return wrong;
}

describe('the alerts', () => {
  it('are all there, each with a case that fires and one that does not', () => {
    expect(rules).toHaveLength(16);
    expect(cases.toSorted()).toEqual(
      rules.flatMap((r) => [`${r.alert} fires`, `${r.alert} is quiet`]).toSorted(),
    );
  });

  it.each(rules)('$alert speaks of metrics that exist and says what it is about', (rule) => {
    expect(ruleProblems(rule)).toEqual([]);
  });

  it.each(rules)('$alert has a runbook of four sections, with commands that exist', async (rule) => {
    expect(await runbookProblems(rule.alert, runbook(rule))).toEqual([]);
  });

  const [some] = rules as [Rule, ...Rule[]];
  it.each([
    ['no such metric: orchestrate_leeder', { ...some, expr: 'orchestrate_leeder != 1' }],
    ['no severity that we know', { ...some, labels: { severity: 'page' } }],
    ['no time', { ...some, for: '' }],
    ['which migration', { ...some, annotations: { ...some.annotations, summary: 'down' } }],
    ['no description', { ...some, annotations: { ...some.annotations, description: '' } }],
  ])('%s: would be found in a rule', (problem, rule) => {
    expect(ruleProblems(rule).join()).toContain(problem);
  });

  it.each([
    ['Mitigation is empty', (page: string) => page.replace(/(## Mitigation\n)[\s\S]*/, '$1\n')],
    ['its sections are Meaning', (page: string) => page.replace('## Impact', '### Impact')],
    ['not the alert', (page: string) => page.replace(/^# \w+/, '# Another')],
    ['no such command: restart', (page: string) => `${page}\nRun \`orchestrate restart\`.\n`],
    ['no such command: verify --mend', (page: string) => `${page}\nRun \`orchestrate verify --mend\`.\n`],
  ])('%s: would be found in a runbook', async (problem, plant) => {
    expect((await runbookProblems(some.alert, plant(runbook(some)))).join()).toContain(problem);
  });

  it('have no runbook too many', () => {
    expect(readdirSync(join(root, 'grafana/runbooks')).toSorted()).toEqual(
      rules.map((r) => `${r.alert}.md`).toSorted(),
    );
  });
});

describe.skipIf(!promtool.found)('the alerts in promtool', () => {
  it('are rules, and fire and keep quiet as their cases say', () => {
    const whole = (text: string): string => text;
    expect(promtoolSays('check', whole)).toMatchObject({ status: 0 });
    expect(promtoolSays('test', whole)).toMatchObject({
      status: 0,
      said: expect.not.stringContaining('FAILED'),
    });
  });

  it.each([
    ['parse error', (text: string) => text.replace('== 0 or absent(', '== 0 or absent((')],
    ['not a valid duration', (text: string) => text.replace('for: 2m', 'for: soon')],
    ['field expression not found', (text: string) => text.replace('expr:', 'expression:')],
    ['undefined variable', (text: string) => text.replace('{{ $labels.job }}', '{{ $label.job }}')],
  ])('%s: is no rule', (said, plant) => {
    expect(plant(file)).not.toBe(file);
    expect(promtoolSays('check', plant)).toEqual({ status: 1, said: expect.stringContaining(said) });
  });

  it('a rule that never fires, or always does, is seen, whichever it is', () => {
    const never = promtoolSays('test', (text) => text.replaceAll(/^( +expr: ).*/gm, "$1'vector(0) > 1'"));
    const always = promtoolSays('test', (text) => text.replaceAll(/^( +expr: ).*/gm, "$1'vector(1)'"));
    expect([never.status, always.status]).toEqual([1, 1]);
    for (const { alert } of rules) {
      const named = `alertname=\\"${alert}\\"`;
      expect(never.said, alert).toContain(named);
      expect(always.said, alert).toContain(named);
    }
  });
});

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { COMMANDS } from '../../orchestrator/cli/commands.ts';
import { METRIC_NAMES, PREFIX } from '../../orchestrator/metrics/names.ts';
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
const SECTIONS = ['Meaning', 'Impact', 'Diagnosis', 'Mitigation'];
const promtool = requireTool('promtool', 'apt-get install prometheus');

/** Runs promtool on a copy of the rules, changed by `plant`. */
function tested(plant: (rules: string) => string): string {
  const dir = mkdtempSync(join(tmpdir(), 'alerts-'));
  try {
    cpSync(rulesDir, dir, { recursive: true });
    writeFileSync(join(dir, 'orchestrate.yaml'), plant(file));
    return spawnSync('promtool', ['test', 'rules', 'orchestrate.test.yaml'], { cwd: dir, encoding: 'utf8' })
      .stderr;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

describe('the alerts', () => {
  it('are all there, each with a case that fires and one that does not', () => {
    expect(rules).toHaveLength(16);
    expect(cases.toSorted()).toEqual(
      rules.flatMap((r) => [`${r.alert} fires`, `${r.alert} is quiet`]).toSorted(),
    );
  });

  it.each(rules)('$alert speaks of metrics that exist and says what it is about', (rule) => {
    const names = [...rule.expr.matchAll(/\borchestrate_(\w+)/g)].map((m) => `${PREFIX}${m[1]}`);
    const known = new Set(METRIC_NAMES.map((name) => `${PREFIX}${name}`));
    expect(names.filter((name) => !known.has(name))).toEqual([]);
    expect(['warning', 'critical']).toContain(rule.labels.severity);
    expect(rule.for).toMatch(/^\d+m$/);
    expect(rule.annotations.summary).toContain(
      rule.alert === 'SyncDown' ? '$labels.job' : '$labels.migration',
    );
    expect(rule.annotations.description).not.toBe('');
  });

  it.each(rules)('$alert has a runbook of four sections, with commands that exist', (rule) => {
    const text = readFileSync(join(root, rule.annotations.runbook_url), 'utf8');
    const sections = text.split(/^## /m).slice(1);
    expect(sections.map((s) => s.split('\n')[0])).toEqual(SECTIONS);
    expect(sections.filter((s) => s.split('\n').slice(1).join('').trim() === '')).toEqual([]);
    const named = [...text.matchAll(/`orchestrate ([a-z]+)/g)].map((m) => m[1] ?? '');
    const known = new Set<string>(COMMANDS.map((c) => c.name));
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });

  it('have no runbook too many', () => {
    expect(readdirSync(join(root, 'grafana/runbooks')).toSorted()).toEqual(
      rules.map((r) => `${r.alert}.md`).toSorted(),
    );
  });
});

describe.skipIf(!promtool.found)('the alerts in promtool', () => {
  it('are rules, and fire and keep quiet as their cases say', () => {
    expect(spawnSync('promtool', ['check', 'rules', 'orchestrate.yaml'], { cwd: rulesDir }).status).toBe(0);
    expect(tested((text) => text)).not.toContain('alertname');
  });

  it('a rule that never fires, or always does, is seen, whichever it is', () => {
    const never = tested((text) => text.replaceAll(/^( +expr: ).*/gm, "$1'vector(0) > 1'"));
    const always = tested((text) => text.replaceAll(/^( +expr: ).*/gm, "$1'vector(1)'"));
    for (const { alert } of rules) {
      const named = `alertname=\\"${alert}\\"`;
      expect(never, alert).toContain(named);
      expect(always, alert).toContain(named);
    }
  });
});

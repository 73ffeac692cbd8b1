import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { findHelm, type KubernetesObject, lint, objectsOf, render } from '../support/chart/helm.ts';
import { invalid, unknownMembers } from '../support/chart/kubernetes.ts';
import { CHART, ROOT } from '../support/chart/write.ts';
import { DASHBOARD } from '../support/dashboard/write.ts';
import { blocksOf, commandsOf, wordsOf } from '../support/readme/blocks.ts';

const files = readdirSync(join(CHART, 'ci'))
  .filter((file) => file.endsWith('-values.yaml'))
  .map((file) => join(CHART, 'ci', file));
const found = findHelm();
if (found === undefined)
  process.stderr.write('!!! no Helm here: the chart is NOT tested. See .ci/run for how it is installed\n');
const path = found ?? 'helm';

interface PodSpec {
  readonly enableServiceLinks: boolean;
  readonly automountServiceAccountToken: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: Record<string, unknown>;
  readonly containers: readonly {
    readonly args: string[];
    readonly env: readonly { readonly name: string; readonly value?: string }[];
    readonly securityContext: Record<string, unknown>;
    readonly livenessProbe?: { readonly failureThreshold: number; readonly periodSeconds: number };
  }[];
}

const rendered = (values: string | object): KubernetesObject[] => {
  const result = render(path, values);
  if (!result.ok) throw new Error(result.output);
  return objectsOf(result.output);
};
const named = (objects: readonly KubernetesObject[], kind: string): KubernetesObject[] =>
  objects.filter((o) => o.kind === kind);

/** Works on a copy of the chart in which one file has been changed, or, with `null`, is not there. */
function withPlant<T>(file: string, plant: (text: string) => string | null, look: (chart: string) => T): T {
  const dir = mkdtempSync(join(tmpdir(), 'planted-'));
  try {
    const chart = join(dir, 'orchestrate');
    cpSync(CHART, chart, { recursive: true });
    const before = readFileSync(join(chart, file), 'utf8');
    const after = plant(before);
    expect(after).not.toBe(before);
    if (after === null) rmSync(join(chart, file));
    else writeFileSync(join(chart, file), after);
    return look(chart);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Every pod of the objects, wherever it stands. */
function podsOf(objects: readonly KubernetesObject[]): PodSpec[] {
  const pods: PodSpec[] = [];
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    if ('containers' in value && Array.isArray(value.containers)) pods.push(value as PodSpec);
    else Object.values(value).forEach(walk);
  };
  objects.forEach(walk);
  return pods;
}

describe.skipIf(found === undefined)('the chart', () => {
  it('has several shapes', () => expect(files.length).toBeGreaterThanOrEqual(5));

  it.each(files.map((f) => [basename(f), f]))(
    '%s: lints, renders, and is what Kubernetes knows',
    async (_name, file) => {
      const { output, ok } = lint(path, file);
      expect(ok, output).toBe(true);
      const objects = rendered(file);
      expect(objects.length).toBeGreaterThan(3);
      expect((await Promise.all(objects.map(invalid))).filter((problem) => problem !== undefined)).toEqual(
        [],
      );
    },
  );

  it('no object has a member that its kind does not have', () => {
    expect(unknownMembers(files.flatMap(rendered))).toBe('');
  });

  it('renders by the command of the README', () => {
    const block = blocksOf(readFileSync(join(ROOT, 'README.md'), 'utf8')).find((b) =>
      b.marks.includes('chart'),
    );
    const [command = ''] = commandsOf(block ?? { text: '', line: 0, language: '', marks: [] });
    const [program, ...args] = wordsOf(command);
    expect(program).toBe('helm');
    const result = spawnSync(path, [...args, '--kube-version', '1.33.0'], { cwd: ROOT, encoding: 'utf8' });
    expect(result.stderr).toBe('');
    expect(objectsOf(result.stdout).map((o) => o.kind)).toContain('PrometheusRule');
  });

  it.each(files.map((f) => [basename(f), f]))(
    '%s: every pod is locked down, and has names of its own',
    (_name, file) => {
      const objects = rendered(file);
      const pods = podsOf(objects);
      expect(pods.length).toBeGreaterThan(1);
      for (const pod of pods) {
        expect(pod.enableServiceLinks).toBe(false);
        expect(pod.securityContext).toMatchObject({
          runAsNonRoot: true,
          seccompProfile: { type: 'RuntimeDefault' },
        });
        for (const { securityContext, env } of pod.containers) {
          expect(securityContext).toEqual({
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          });
          expect(env.map((e) => e.name)).toContain('ORCHESTRATE_BLUE_URL_FILE');
          expect(JSON.stringify(env)).not.toMatch(/postgres(ql)?:\/\//);
        }
      }
      const names = objects.map((o) => `${o.kind}/${o.metadata.name}`);
      expect(new Set(names).size).toBe(names.length);
      for (const o of objects)
        expect(o.metadata.labels).toMatchObject({ 'app.kubernetes.io/name': 'orchestrate' });
    },
  );

  it.each([
    ['250ms', 1],
    ['10s', 10],
    ['1.5m', 90],
    ['1h', 3600],
  ])('a freeze budget of %s leaves time to finish and is never cut short', (budget, seconds) => {
    const [runner] = podsOf(named(rendered({ config: { 'freeze-budget': budget } }), 'Deployment'));
    expect(runner?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(seconds + 30);
    const probe = runner?.containers[0]?.livenessProbe;
    expect((probe?.failureThreshold ?? 0) * (probe?.periodSeconds ?? 0)).toBeGreaterThanOrEqual(seconds + 30);
  });

  it('one-shots are templates that run once, and only when somebody makes a job of them', () => {
    const jobs = named(rendered({}), 'CronJob') as unknown as {
      spec: { suspend: boolean; concurrencyPolicy: string; jobTemplate: { spec: { backoffLimit: number } } };
    }[];
    expect(jobs.length).toBe(8);
    for (const { spec } of jobs) {
      expect([spec.suspend, spec.concurrencyPolicy, spec.jobTemplate.spec.backoffLimit]).toEqual([
        true,
        'Forbid',
        0,
      ]);
    }
  });

  it('workers that were changed are another Job: Kubernetes lets nobody change one', () => {
    const nameOf = (values: object): string | undefined =>
      named(rendered({ workers: { enabled: true, count: 2 }, ...values }), 'Job')[0]?.metadata.name;
    expect(nameOf({})).toBe(nameOf({ commands: { enabled: false } }));
    const changed = [{}, { image: { tag: 'next' } }, { workers: { enabled: true, count: 3 } }].map(nameOf);
    expect(new Set(changed).size).toBe(3);
    for (const name of changed) expect(name).toMatch(/^settings-orchestrate-workers-[0-9a-f]{8}$/);
  });

  it('only --traffic kubernetes gets a token, and a right to one Service', () => {
    expect(podsOf(rendered({})).some((p) => p.automountServiceAccountToken)).toBe(false);
    expect(named(rendered({}), 'Role')).toEqual([]);
    const objects = rendered(join(CHART, 'ci/kubernetes-traffic-values.yaml'));
    const [role] = named(objects, 'Role') as unknown as { metadata: object; rules: unknown[] }[];
    expect(role?.metadata).toMatchObject({ namespace: 'app' });
    expect(role?.rules).toEqual([
      { apiGroups: [''], resources: ['services'], resourceNames: ['app-database'], verbs: ['get', 'patch'] },
    ]);
    const nameless = { traffic: 'kubernetes', 'kubernetes-service': 'app-database' };
    expect(render(path, { config: nameless }).output).toContain('NAMESPACE/NAME');
    expect(named(objects, 'Service').map((s) => s.metadata.name)).not.toContain('app-database');
    expect(render(path, { config: { traffic: 'kubernetes' } }).output).toContain('kubernetes-service');
  });

  it('the rules and the dashboard are those that are tested', () => {
    const objects = rendered({ prometheusRule: { enabled: true }, dashboard: { enabled: true } });
    const tested = readFileSync(join(ROOT, 'grafana/rules/orchestrate.yaml'), 'utf8');
    expect(named(objects, 'PrometheusRule')[0]?.['spec']).toEqual(parse(tested));
    const map = named(objects, 'ConfigMap').find((o) => o.metadata.labels?.['grafana_dashboard'] === '1');
    const data = map?.['data'] as Record<string, string> | undefined;
    expect(JSON.parse(data?.['orchestrate-migration.json'] ?? '')).toEqual(
      JSON.parse(readFileSync(DASHBOARD, 'utf8')),
    );
  });

  it('a rehearsal on the databases has a login of the application, or is refused', () => {
    const values = { rehearsal: { enabled: true, embedded: false, iterations: 3 } };
    expect(render(path, values).output).toContain('a login of its own');
    const application = { existingSecret: 'application' };
    const objects = rendered({ rehearsal: { ...values.rehearsal, application } });
    const pod = podsOf(objects).find((p) => p.containers[0]?.args[0] === 'rehearse');
    const args = pod?.containers[0]?.args.join(' ');
    expect(args).toContain('--iterations 3');
    expect(args).toContain('--green-app-url-file /run/secrets/orchestrate/application/green-url');
    expect(args).not.toContain('--embedded');
    expect(JSON.stringify(pod)).toContain('"secretName":"application"');
  });

  it('a rehearsal is refused in production', () => {
    const values = { rehearsal: { enabled: true }, config: { environment: 'production' } };
    expect(render(path, values)).toMatchObject({ ok: false, output: expect.stringContaining('refused') });
    expect(render(path, { ...values, config: { environment: 'staging' } }).ok).toBe(true);
  });

  it.each([
    ['replica', { replica: 2 }],
    ['Replicas', { workers: { Replicas: 1 } }],
    ['max-lagg', { config: { 'max-lagg': '1MiB' } }],
    ['freeze-budget', { config: { 'freeze-budget': 'soon' } }],
    ['blue-url', { config: { 'blue-url': 'postgres://secret' } }],
    ['replicas', { replicas: 3 }],
    ['digest', { image: { digest: 'latest' } }],
    ['copy-workers', { config: { 'copy-workers': 'four' } }],
    ['databases', { networkPolicy: { enabled: true } }],
  ])('%s: an unknown or wrong value is refused', (word, values) => {
    const result = render(path, values);
    expect(result.ok).toBe(false);
    expect(result.output).toContain(word);
  });

  it('what Kubernetes does not know, and what is of the wrong type, would be found', async () => {
    const objects = rendered({ serviceMonitor: { enabled: true } });
    const [runner] = named(objects, 'Deployment');
    const [monitor] = named(objects, 'ServiceMonitor');
    if (runner === undefined || monitor === undefined) throw new Error('not rendered');
    const spec = runner['spec'] as object;
    expect(unknownMembers([{ ...runner, spec: { ...spec, replicaz: 2 } }])).toContain('replicaz');
    expect(await invalid({ ...runner, spec: { ...spec, replicas: 'two' } })).toContain('replicas');
    const endpoints = [{ port: 9187 }];
    expect(await invalid({ ...monitor, spec: { selector: {}, endpoints } })).toContain('port');
    expect(unknownMembers([{ ...monitor, spec: { selector: {}, endpoints: [{ prt: 'x' }] } }])).toContain(
      'prt',
    );
  });

  it.each([
    ['chart.metadata.version is required', 'Chart.yaml', (t: string) => t.replace(/^version: .*\n/m, '')],
    ['function "nothing" not defined', 'templates/service.yaml', (t: string) => `${t}\n{{ nothing }}\n`],
    ['YAML', 'templates/service.yaml', (t: string) => `${t}\n}: {\n`],
    ['nil pointer', 'templates/service.yaml', (t: string) => `${t}\n{{ .Values.no.such }}\n`],
  ])('%s: would be found by lint', (said, file, plant) => {
    const { ok, output } = withPlant(file, plant, (chart) => lint(path, files[0] ?? '', chart));
    expect([ok, output]).toEqual([false, expect.stringContaining(said)]);
  });

  it('without the schema of its values a misspelt one would pass', () => {
    const without = withPlant(
      'values.schema.json',
      () => null,
      (chart) => render(path, { replica: 2 }, chart),
    );
    expect(without.ok, without.output).toBe(true);
  });

  it('a rule of another form than the operator knows would be found', async () => {
    const [rule] = named(rendered({ prometheusRule: { enabled: true } }), 'PrometheusRule');
    if (rule === undefined) throw new Error('not rendered');
    expect(await invalid(rule)).toBeUndefined();
    const spec = { groups: [{ name: 'orchestrate', rules: [{ alert: 'A', expr: ['up'], for: 'soon' }] }] };
    expect(await invalid({ ...rule, spec })).toContain('for');
    expect(unknownMembers([{ ...rule, spec: { groups: [{ name: 'g', rulez: [] }] } }])).toContain('rulez');
  });
});

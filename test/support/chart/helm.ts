import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { CHART } from './write.ts';

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Record<string, string> };
  readonly [member: string]: unknown;
}

/** Helm as `go install` makes it believes in a very old Kubernetes; this is one that people run. */
const KUBERNETES = '1.33.0';

/** The Helm that .ci/run has installed, or the one on PATH; undefined where there is none. */
export function findHelm(): string | undefined {
  const here = [process.env['ORCHESTRATE_HELM'] ?? '', ...(process.env['PATH'] ?? '').split(delimiter)];
  for (const at of here) {
    const path = at.endsWith('/helm') ? at : join(at, 'helm');
    try {
      accessSync(path, constants.X_OK);
      if (at !== '') return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

export interface HelmResult {
  readonly ok: boolean;
  readonly output: string;
}

export function helm(path: string, ...args: string[]): HelmResult {
  const { status, stdout, stderr } = spawnSync(path, args, { encoding: 'utf8', maxBuffer: 64 << 20 });
  return { ok: status === 0, output: status === 0 ? stdout : stdout + stderr };
}

/** `helm template` with a file of values, or with values of a test; of a changed copy of the chart where one is given. */
export function render(path: string, values: string | object, chart = CHART): HelmResult {
  if (typeof values === 'string')
    return helm(path, 'template', 'settings', chart, '--kube-version', KUBERNETES, '-f', values);
  const dir = mkdtempSync(join(tmpdir(), 'chart-'));
  try {
    const file = join(dir, 'values.json');
    writeFileSync(file, JSON.stringify(values));
    return render(path, file, chart);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export const lint = (path: string, file: string, chart = CHART): HelmResult =>
  helm(path, 'lint', '--strict', chart, '--kube-version', KUBERNETES, '-f', file);

/** @returns the objects of `helm template`. @throws Error when it is no YAML. */
export function objectsOf(rendered: string): KubernetesObject[] {
  return parseAllDocuments(rendered, { version: '1.1' }).flatMap((document) => {
    const [error] = document.errors;
    if (error) throw new Error(error.message);
    const value = document.toJS() as KubernetesObject | null;
    return value === null ? [] : [value];
  });
}

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubernetesObject } from './helm.ts';
import { ROOT } from './write.ts';

interface Model {
  validate(): void;
}

/** Where the pinned package has the model of a kind: made from Kubernetes' OpenAPI, or from the operator's CRDs. */
export const moduleOf = ({ apiVersion, kind }: KubernetesObject): string =>
  `${apiVersion.startsWith('monitoring.coreos.com/') ? '@kubernetes-models/prometheus-operator' : 'kubernetes-models'}/${apiVersion}/${kind}`;

/** @returns what is wrong with an object by the schema of its kind; undefined when nothing is. */
export async function invalid(object: KubernetesObject): Promise<string | undefined> {
  const module = (await import(moduleOf(object))) as Record<string, new (data: object) => Model>;
  const Kind = module[object.kind];
  if (Kind === undefined) return `no model of ${object.kind}`;
  try {
    new Kind(object).validate();
    return undefined;
  } catch (error) {
    return `${object.kind} ${object.metadata.name}: ${String(error)}`;
  }
}

/**
 * The schemas let members pass that they do not know, as the API server does, with a warning. The compiler does not:
 * every object is written down as a constant of the type that the same package has for its kind.
 * @returns what the compiler says; empty when every member is known.
 */
export function unknownMembers(objects: readonly KubernetesObject[]): string {
  const cache = join(ROOT, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const dir = mkdtempSync(join(cache, 'chart-'));
  try {
    const kinds = [...new Map(objects.map((o) => [moduleOf(o), o.kind])).entries()];
    const names = new Map(kinds.map(([module], i) => [module, `Kind${i}`]));
    const file = join(dir, 'objects.ts');
    writeFileSync(
      file,
      [
        ...kinds.map(([module, kind], i) => `import type { I${kind} as Kind${i} } from '${module}';`),
        ...objects.map(
          (o, i) => `export const o${i}: ${names.get(moduleOf(o))} = ${JSON.stringify(o, null, 1)};`,
        ),
      ].join('\n'),
    );
    const options =
      '--noEmit --strict --skipLibCheck --module nodenext --moduleResolution nodenext --ignoreConfig';
    const { stdout } = spawnSync(join(ROOT, 'node_modules/.bin/tsc'), [...options.split(' '), file], {
      cwd: dir,
      encoding: 'utf8',
    });
    return stdout;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

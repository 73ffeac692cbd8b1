/** This package as somebody else gets it: packed, and installed elsewhere from what `npm ci` has left in npm's cache. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface LockedPackage {
  readonly version?: string;
  readonly dev?: boolean;
  readonly [field: string]: unknown;
}

/** Packs what `dist/` holds now. @returns the archive's path. */
export async function packInto(directory: string): Promise<string> {
  // The program is built already, and another test may be running it.
  const { stdout } = await run(
    'npm',
    ['pack', '--ignore-scripts', '--json', '--pack-destination', directory],
    { cwd: ROOT, maxBuffer: 64 * 2 ** 20 },
  );
  const [packed] = Object.values(JSON.parse(stdout) as Record<string, { filename: string }>);
  if (packed === undefined) throw new Error('npm packed nothing');
  return join(directory, packed.filename);
}

/**
 * `npm install <archive>` in a new project, without scripts and without a network: every package at the version and
 * with the integrity that our own lock file has, none that only development needs.
 */
export async function installElsewhere(
  directory: string,
  archive: string,
  { optional }: { readonly optional: boolean },
): Promise<void> {
  const { packages: locked } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockedPackage>;
  };
  const { devDependencies: _, ...ours } = locked[''] ?? {};
  const name = String(ours['name']);
  const project = {
    name: 'somebody-else',
    version: '1.0.0',
    type: 'module',
    dependencies: { [name]: archive },
  };
  const packages: Record<string, object> = {
    '': project,
    [`node_modules/${name}`]: { ...ours, resolved: `file:${archive}` },
  };
  for (const [path, entry] of Object.entries(locked))
    if (path !== '' && entry.dev !== true) packages[path] = entry;
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'package.json'), JSON.stringify(project));
  await writeFile(
    join(directory, 'package-lock.json'),
    JSON.stringify({ ...project, lockfileVersion: 3, requires: true, packages }),
  );
  await run(
    'npm',
    [
      'ci',
      '--offline',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      ...(optional ? [] : ['--omit=optional']),
    ],
    { cwd: directory },
  );
}

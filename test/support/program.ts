/** The built program, as tests spawn it. */
import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SOURCES = ['src', 'migrations', 'orchestrator', 'tsconfig.json', 'tsconfig.build.json'];

/** The file that `node` runs for the command `orchestrate`. */
export const PROGRAM = join(ROOT, 'dist/orchestrator/main.js');

/**
 * Compiles to dist/ when a source is newer than what is there. Type errors are printed and do not stop the run:
 * the compiler emits all the same, and only the tests that spawn the program care.
 */
export async function buildProgram(): Promise<void> {
  const [sources, built] = await Promise.all([
    Promise.all(SOURCES.map((path) => newest(join(ROOT, path)))),
    newest(join(ROOT, 'dist')),
  ]);
  if (built > Math.max(...sources)) return;
  const require = createRequire(import.meta.url);
  const compiler = join(require.resolve('typescript/package.json'), '../bin/tsc');
  try {
    await promisify(execFile)(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { cwd: ROOT });
  } catch (error) {
    const { stdout = '' } = error as { stdout?: string };
    process.stderr.write(`dist/ was built with errors:\n${stdout.split('\n').slice(0, 10).join('\n')}\n`);
  }
}

/** The newest modification time (ms) of a file, or of the files below a directory; 0 when there is none. */
async function newest(path: string): Promise<number> {
  const entry = await stat(path).catch(() => undefined);
  if (entry === undefined) return 0;
  if (!entry.isDirectory()) return entry.mtimeMs;
  const below = await Promise.all((await readdir(path)).map((name) => newest(join(path, name))));
  return Math.max(0, ...below);
}

/** Tests that need a program the machine may lack: skipped with the line that installs it, failed in CI. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

function findOnPath(program: string): string | undefined {
  for (const dir of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']) {
    if (dir === '') continue;
    const path = join(dir, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory: look in the next one.
    }
  }
  return undefined;
}

/** What `requireTool` found: `path` when the program is there, otherwise why the test does not run. */
export type Tool = { found: true; path: string } | { found: false; reason: string };

/**
 * Look for a program on PATH.
 *
 * @param program the executable's name, e.g. `promtool`
 * @param install the command that installs it, e.g. `apt-get install prometheus`
 * @returns the path, or the reason to skip: `describe.skipIf(!tool.found)`
 * @throws Error under `ORCHESTRATE_CI=1`, where a skipped test would be a test nobody runs
 */
export function requireTool(program: string, install: string): Tool {
  const path = findOnPath(program);
  if (path !== undefined) return { found: true, path };
  const reason = `${program} is not installed; run: ${install}`;
  if (process.env['ORCHESTRATE_CI'] === '1') throw new Error(reason);
  process.stderr.write(`skipped: ${reason}\n`);
  return { found: false, reason };
}

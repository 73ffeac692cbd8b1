import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Side } from '../../../orchestrator/pg/side.ts';

const PROGRAM = fileURLToPath(new URL('../../../dist/orchestrator/main.js', import.meta.url));

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * Writes `environment` into a directory of its own, to be read by a shell with `.`: where both databases are, and the
 * command `orchestrate` as it is built in this checkout. URLs only as names of files.
 */
export async function writeEnvironment(
  directory: string,
  urlFiles: Readonly<Record<Side, string>>,
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(
    join(directory, 'environment'),
    [
      `export ORCHESTRATE_BLUE_URL_FILE=${quoted(urlFiles.blue)}`,
      `export ORCHESTRATE_GREEN_URL_FILE=${quoted(urlFiles.green)}`,
      `orchestrate() { node ${quoted(PROGRAM)} "$@"; }`,
      '',
    ].join('\n'),
    { mode: 0o600 },
  );
}

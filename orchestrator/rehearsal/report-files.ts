import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { scrub } from '../log/redact.ts';
import { SIDES } from '../pg/side.ts';
import type { Pair } from './embedded-pair.ts';
import type { RehearsalReport } from './report.ts';
import { htmlOf } from './report-html.ts';
import { markdownOf } from './report-markdown.ts';

/**
 * Writes the report; where the rehearsal failed, also what is needed to find out why, before it goes with the
 * servers: the clients' ledger (digests only) and the logs of program and servers.
 */
export async function writeReport(
  directory: string,
  report: RehearsalReport,
  pair: Pair | undefined,
): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(join(directory, 'report.md'), markdownOf(report));
  await writeFile(join(directory, 'report.html'), htmlOf(report));
  if (report.verdict === 'passed' || pair === undefined) return;
  for (const name of ['ledger.jsonl', 'run.log'])
    await copyFile(join(pair.directory, name), join(directory, name)).catch(() => undefined);
  const logs = await pair.logs();
  for (const side of SIDES) await writeFile(join(directory, `${side}.log`), scrub(logs[side]));
}

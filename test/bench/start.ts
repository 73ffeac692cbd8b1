/** How long the installed program takes to say what it can do: `orchestrate --help`, ten times, packed and installed elsewhere. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { installElsewhere, packInto } from '../support/package.ts';
import { buildProgram } from '../support/program.ts';
import { machine, median } from './figures.ts';

const GOAL_MS = 300;

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { rounds: { type: 'string', default: '10' }, json: { type: 'boolean', default: false } },
  });
  await buildProgram();
  const directory = await mkdtemp(join(tmpdir(), 'orchestrate-bench-start-'));
  try {
    await installElsewhere(join(directory, 'project'), await packInto(directory), { optional: false });
    const program = join(directory, 'project/node_modules/.bin/orchestrate');
    const rows: number[] = [];
    // On a busy machine Node.js itself takes longer: its share is shown beside, in turns.
    const bare: number[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      rows.push(timed(program, ['--help']));
      bare.push(timed(process.execPath, ['-e', '0']));
    }
    const document = {
      machine: machine(),
      rounds: rows.length,
      rows,
      ratios: { help_ms: median(rows), node_ms: median(bare) },
    };
    process.stdout.write(
      values.json
        ? `${JSON.stringify(document)}\n`
        : `orchestrate --help: median ${document.ratios.help_ms} ms of ${rows.join(', ')} (goal ${GOAL_MS}); node -e 0: median ${document.ratios.node_ms} ms\n`,
    );
    return 0;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function timed(program: string, args: readonly string[]): number {
  const startedAt = performance.now();
  const { status } = spawnSync(program, args, { stdio: 'ignore' });
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${String(status)}`);
  return Number((performance.now() - startedAt).toFixed(1));
}

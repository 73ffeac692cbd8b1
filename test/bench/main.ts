/** `npm run bench -- copy [--rows N] [--rounds N] [--json]`: one benchmark by its name. */
import { main as copy } from './copy.ts';
import { main as handover } from './handover.ts';
import { main as inPlace } from './in-place.ts';
import { main as start } from './start.ts';
import { main as sync } from './sync.ts';
import { main as verify } from './verify.ts';
import { main as whole } from './whole.ts';

const BENCHMARKS: Readonly<Record<string, (args: readonly string[]) => Promise<number>>> = {
  copy,
  handover,
  verify,
  sync,
  whole,
  start,
  'in-place': inPlace,
};

export async function main([name = '', ...args]: readonly string[]): Promise<number> {
  const run = BENCHMARKS[name];
  if (run !== undefined) return run(args);
  process.stderr.write(
    `npm run bench -- ${Object.keys(BENCHMARKS).join('|')} [--rows N] [--rounds N] [--json]\n`,
  );
  return 2;
}

/**
 * `npm run test:faults`: all long tests, with three seeds of the random one. `-- --seed N` repeats one seed of the random
 * test and `-- --runs N` makes N of them (from `--seed`, default 1). `--record FILE` adds every run to a file; the table of
 * what was hit then sums up all that the file holds.
 * Everything else goes to vitest.
 */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values, tokens } = parseArgs({
  args: process.argv.slice(2),
  options: { seed: { type: 'string' }, runs: { type: 'string' }, record: { type: 'string' } },
  strict: false,
  tokens: true,
});
const OURS = new Set(['seed', 'runs', 'record']);
const rest = [];
for (const token of tokens) {
  if (token.kind === 'positional') rest.push(token.value);
  else if (token.kind === 'option' && !OURS.has(token.name))
    rest.push(token.value === undefined ? token.rawName : `${token.rawName}=${token.value}`);
}
const random = values.seed !== undefined || values.runs !== undefined;
for (const name of ['seed', 'runs']) {
  if (values[name] !== undefined && !/^[1-9]\d{0,8}$/.test(String(values[name]))) {
    process.stderr.write(`--${name} needs a number from 1\n`);
    process.exit(2);
  }
}
const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '../vitest.mjs');
const child = spawn(
  process.execPath,
  [
    vitest,
    'run',
    '--config',
    'vitest.faults.config.ts',
    ...(random ? ['test/faults/stream-random.test.ts'] : []),
    ...rest,
  ],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      ...(values.seed === undefined ? {} : { ORCHESTRATE_FAULT_SEED: String(values.seed) }),
      ...(random ? { ORCHESTRATE_FAULT_RUNS: String(values.runs ?? 1) } : {}),
      ...(values.record === undefined ? {} : { ORCHESTRATE_FAULT_RECORD: String(values.record) }),
    },
  },
);
child.once('close', (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});

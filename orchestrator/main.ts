#!/usr/bin/env node
/**
 * Process entry: signals and exit codes. Everything that takes time to load is loaded after the title is set: a
 * connection URL that was given as a flag should not stand in the process list longer than it must.
 */
process.title = 'orchestrate';
// An account without a passwd entry, as containers have, has no home either; a library asks for one as it is loaded.
process.env['HOME'] ??= '/';

const args = process.argv.slice(2);
const ending = new AbortController();
const world = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  environment: process.env,
  signal: ending.signal,
};

const [{ execute, reportEscaped }, { failure }] = await Promise.all([
  import('./cli/execute.ts'),
  import('./errors/failure.ts'),
]).catch((error: NodeJS.ErrnoException) => {
  // Not even the words for errors could be read: a machine without file descriptors, or half an installation.
  const code = error.code === 'EMFILE' || error.code === 'ENFILE' ? 'OUT_OF_FILES' : 'INTERNAL';
  process.stderr.write(`${code}  the program could not be loaded: ${error.code ?? error.name}\n`);
  process.exit(1);
});

let outlivesTerminal = false;
process.on('SIGINT', () => ending.abort(failure('INTERRUPTED')));
process.on('SIGTERM', () => ending.abort(failure('TERMINATED')));
process.on('SIGHUP', () => {
  // A lost terminal cancels nothing (DESIGN 10); what only reads has nobody to read to any more.
  if (!outlivesTerminal) ending.abort(failure('TERMINATED'));
});
process.on('uncaughtException', (error) => {
  process.exit(reportEscaped(error, args, world));
});

process.exitCode = await execute(args, {
  ...world,
  onCommand: (command) => {
    outlivesTerminal = command.acts;
  },
});
// What is over must not be kept alive by a socket that somebody forgot.
setTimeout(() => process.exit(), 2_000).unref();

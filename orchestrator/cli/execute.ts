import { setImmediate } from 'node:timers/promises';
import type { Settings } from '../config/settings.ts';
import { asFailure } from '../errors/as-failure.ts';
import { CATALOGUE } from '../errors/catalogue.ts';
import type { ErrorDocument } from '../errors/failure.ts';
import { failure, type OrchestrateError } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import type { Command, Result } from './command.ts';
import { reportFailure, scrubbed } from './failure-report.ts';
import { quickAnswer } from './root-help.ts';
import { createTerminal, type Terminal, type TerminalOptions } from './terminal.ts';

export interface World extends Omit<TerminalOptions, 'json'> {
  readonly signal: AbortSignal;
  /** Told which command runs, before it does: what a hangup means depends on it. */
  readonly onCommand?: (command: Command) => void;
}

/**
 * Runs one command line from beginning to end: nothing it meets goes past it as an exception.
 * @returns the exit code (DESIGN 10).
 */
export async function execute(args: readonly string[], world: World): Promise<number> {
  const exit = await answer(args, world);
  // A file tells its error after the write.
  await setImmediate();
  const terminal = createTerminal({ ...world, json: false });
  const lost: unknown = terminal.unread.aborted ? terminal.unread.reason : undefined;
  // Who stops reading has read enough; a file that took no more is a result that somebody will miss.
  const code = sqlState(lost);
  if (code === undefined || code === 'EPIPE' || code === 'EIO') return exit;
  const error = failure('CANNOT_WRITE', {
    message: 'the result could not be written to stdout',
    expected: 'a stdout with room',
    found: `${code}; the command itself ended with ${exit}`,
  });
  terminal.note(reportFailure(scrubbed(error.toDocument()), terminal.err));
  return exit === 0 ? error.entry.exit : exit;
}

async function answer(args: readonly string[], world: World): Promise<number> {
  // Before the settings are known, an error's form is what the command line or the variable asks for.
  let terminal = createTerminal({ ...world, json: asksForJson(args, world.environment) });
  try {
    const quick = quickAnswer(args, terminal.columns);
    if (quick !== undefined) {
      terminal.write(`${quick}\n`);
      return 0;
    }
    const { parseCommandLine } = await import('./program.ts');
    const parsed = await parseCommandLine(args, terminal.columns);
    if ('printed' in parsed) {
      terminal.write(`${parsed.printed}\n`);
      return 0;
    }
    const { command, argv } = parsed;
    // Loaded only now: help and usage errors have to be quick.
    const [{ loadSettings }, { givenOptions }] = await Promise.all([
      import('../config/load.ts'),
      import('./flags.ts'),
    ]);
    const given = givenOptions(argv);
    const flags = command.adapt?.(given) ?? given;
    const settings = loadSettings({ flags, environment: world.environment });
    terminal = createTerminal({ ...world, json: settings.output === 'json' });
    world.onCommand?.(command);
    return conclude(await perform(command, argv, settings, terminal, world.signal), terminal);
  } catch (error) {
    return fail(asFailure(error), terminal);
  }
}

async function perform(
  command: Command,
  argv: Readonly<Record<string, unknown>>,
  settings: Settings,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<Result> {
  // Of anything but the runner itself, a person wants the result and what went wrong, not the log.
  const quiet =
    settings.origins['log-level'] === 'default' && command.name !== 'run' && command.name !== 'worker';
  const [{ createLogger }, { progressLine }] = await Promise.all([
    import('../log/logger.ts'),
    import('./render/progress.ts'),
  ]);
  const log = createLogger({
    format: settings.logFormat,
    level: quiet ? 'warn' : settings.logLevel,
    migration: settings.migration,
    write: (line) => terminal.note(line.trimEnd()),
    progress: terminal.sticky && ((state) => terminal.sticky?.(state === null ? null : progressLine(state))),
  });
  const work = command
    .run({ name: command.name, settings, flags: argv, log, terminal, signal })
    .finally(() => terminal.sticky?.(null));
  if (command.acts) return work;
  // What only reads needs no care when it is interrupted.
  const interrupted = new Promise<never>((_, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  return Promise.race([work, interrupted]);
}

function conclude(result: Result, terminal: Terminal): number {
  const error = result.document === null ? undefined : (result.document as { error?: ErrorDocument }).error;
  const text = result.text?.() ?? '';
  if (terminal.json) {
    if (result.document !== null)
      terminal.document(
        error === undefined ? result.document : { ...result.document, error: scrubbed(error) },
      );
  } else if (text !== '') terminal.write(`${text}\n`);
  if (error !== undefined) terminal.note(reportFailure(scrubbed(error), terminal.err));
  return result.exit;
}

function fail(error: OrchestrateError, terminal: Terminal): number {
  const document = scrubbed(error.toDocument());
  // Who follows something ends it by interrupting it.
  if (terminal.followed && (error.code === 'INTERRUPTED' || error.code === 'TERMINATED'))
    return CATALOGUE[error.code].exit;
  if (terminal.json) terminal.document({ error: document });
  terminal.note(reportFailure(document, terminal.err));
  return CATALOGUE[error.code].exit;
}

/** Whether JSON was asked for, as far as that can be told of a command line that may be wrong. */
export function asksForJson(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): boolean {
  const flag = args.some(
    (arg, i) => arg === '--json' || arg === '--output=json' || (arg === '--output' && args[i + 1] === 'json'),
  );
  const overruled = args.some(
    (arg, i) => arg === '--output=table' || (arg === '--output' && args[i + 1] === 'table'),
  );
  return flag || (environment['ORCHESTRATE_OUTPUT'] === 'json' && !overruled);
}

/** An error that escaped every handler, in the form of all others; for the process's last words. */
export function reportEscaped(error: unknown, args: readonly string[], world: World): number {
  const terminal = createTerminal({ ...world, json: asksForJson(args, world.environment) });
  return fail(asFailure(error ?? failure('INTERNAL')), terminal);
}

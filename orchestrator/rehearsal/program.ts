import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { failure } from '../errors/failure.ts';
import { lastLines } from './embedded/postmaster.ts';

/** How long a command of the program may take before it is told to end. */
const COMMAND_MS = 120_000;
const GRACE_MS = 10_000;

export interface CommandResult<T> {
  readonly exit: number;
  /** The one document of stdout; null when there was none that can be read. */
  readonly document: T | null;
  /** The last lines of stderr. */
  readonly notes: string;
  readonly seconds: number;
}

/** The long-lived `orchestrate run`. */
export interface RunningProgram {
  readonly pid: number;
  /** Resolves with the exit code when it has ended, whatever ended it (128 + n for a signal). */
  readonly ended: Promise<number>;
  readonly hasEnded: () => boolean;
  readonly log: () => string;
}

/** The file that is run for the command `orchestrate`: of this very package, built. */
export function ownProgram(): string {
  const here = new URL('.', import.meta.url);
  const built = import.meta.url.endsWith('.ts') ? '../../dist/orchestrator/main.js' : '../main.js';
  return fileURLToPath(new URL(built, here));
}

/**
 * The shipped program as an operator meets it: started as processes of its own, spoken to through its command line
 * alone. Nothing of its inside is imported here, so what the rehearsal shows is what the operator gets.
 */
export class Program {
  readonly #entry: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #directory: string;
  readonly #children = new Set<ChildProcess>();
  #commands = 0;

  /** @param directory a private one, for what the children write to stderr. */
  constructor(entry: string, environment: Readonly<Record<string, string>>, directory: string) {
    this.#entry = entry;
    this.#environment = { ...inherited(), ...environment };
    this.#directory = directory;
  }

  /** Starts `orchestrate run`. */
  run(): RunningProgram {
    const logFile = join(this.#directory, 'run.log');
    const child = this.#spawn(['run'], logFile);
    const { pid } = child;
    if (pid === undefined) throw failure('INTERNAL', { message: 'orchestrate run could not be started' });
    let over = false;
    const ended = exitOf(child).then((exit) => {
      over = true;
      return exit;
    });
    return {
      pid,
      ended,
      hasEnded: () => over,
      log: () => lastLines(readFileSync(logFile, 'utf8'), 200),
    };
  }

  /** Runs one command with `--json` and waits for its end. */
  async command<T>(...args: string[]): Promise<CommandResult<T>> {
    const began = performance.now();
    this.#commands += 1;
    const notes = join(this.#directory, `command-${this.#commands}.log`);
    const child = this.#spawn([...args, '--json'], notes, 'pipe');
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const late = setTimeout(() => child.kill('SIGTERM'), COMMAND_MS);
    const exit = await exitOf(child);
    clearTimeout(late);
    return {
      exit,
      document: parsed<T>(output),
      notes: lastLines(readFileSync(notes, 'utf8'), 20),
      seconds: (performance.now() - began) / 1_000,
    };
  }

  /** The program's own word on its version. */
  async version(): Promise<string> {
    const child = spawn(process.execPath, [this.#entry, '--version'], {
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#keep(child);
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    await exitOf(child);
    return output.trim() || 'unknown';
  }

  /** Ends every child that still lives. */
  async stop(): Promise<void> {
    const living = [...this.#children];
    const gone = Promise.all(living.map(exitOf));
    for (const child of living) child.kill('SIGTERM');
    const patience = new AbortController();
    await Promise.race([
      gone,
      delay(GRACE_MS, undefined, { signal: patience.signal }).catch(() => undefined),
    ]);
    patience.abort();
    for (const child of this.#children) child.kill('SIGKILL');
    await gone;
  }

  #spawn(args: readonly string[], stderrFile: string, stdout: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
    const stderr = openSync(stderrFile, 'a', 0o600);
    try {
      const child = spawn(process.execPath, [this.#entry, ...args], {
        env: this.#environment,
        // A Ctrl-C in the terminal is for the rehearsal, which then ends its children in order.
        detached: true,
        stdio: ['ignore', stdout, stderr],
      });
      this.#keep(child);
      return child;
    } finally {
      closeSync(stderr);
    }
  }

  #keep(child: ChildProcess): void {
    this.#children.add(child);
    const forget = (): void => {
      this.#children.delete(child);
    };
    child.once('exit', forget);
    child.once('error', forget);
  }
}

/** Where the passwords of the URLs are that hold none. */
const SECRETS = /^PG(PASSFILE|PASSWORD|SERVICEFILE|SYSCONFDIR)$/;

/**
 * Our environment without what would change where the program connects or what it is told; failpoints pass, and where
 * passwords are kept.
 */
function inherited(): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (name.startsWith('PG') && !SECRETS.test(name)) continue;
    if (name.startsWith('ORCHESTRATE_') && !/^ORCHESTRATE_(TEST$|FAILPOINT)/.test(name)) continue;
    environment[name] = value;
  }
  return environment;
}

function exitOf(child: ChildProcess): Promise<number> {
  const code = (): number => child.exitCode ?? (child.signalCode === null ? 1 : 137);
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(code());
  return new Promise((resolve) => {
    // `close` comes after stdout has been read to its end, `error` when there never was a process.
    child.once('close', () => resolve(code()));
    child.once('error', () => resolve(1));
  });
}

function parsed<T>(output: string): T | null {
  try {
    return JSON.parse(output) as T;
  } catch {
    return null;
  }
}

/** The shipped program on a pair of databases: the runner in the background, commands beside it. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { StatusDocument } from '../../orchestrator/state/documents.ts';
import type { Pair } from './databases.ts';
import { PROGRAM } from './program.ts';
import { schemaProblems } from './schemas/validate.ts';
import { rows } from './sql.ts';
import { until } from './until.ts';

/** What a command left behind. */
export interface Ended {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The one JSON document on stdout. @throws when it is not exactly one. */
  json<T = Record<string, unknown>>(): T;
}

/** A runner in a process of its own. */
export interface Running {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
  stderr(): string;
  kill(signal?: NodeJS.Signals): void;
}

export interface Journey {
  /** Starts `orchestrate run` in the background. */
  run(environment?: Record<string, string>, ...flags: string[]): Running;
  /** Starts any command in the background. */
  start(args: readonly string[], environment?: Record<string, string>): Running;
  /** Runs one command to its end. */
  command(...args: string[]): Promise<Ended>;
  commandIn(environment: Record<string, string>, ...args: string[]): Promise<Ended>;
  status(): Promise<StatusDocument>;
  /** Waits until the first sweep is clean and the way back is prepared. */
  ready(running?: Running): Promise<StatusDocument>;
}

/** The slot of the way back is there before all that belongs to it is; the journal says when that is done. */
const PREPARED = `SELECT FROM orchestrator.journal WHERE event = 'reverse-prepared'`;
const SLOT = `
  SELECT FROM pg_replication_slots WHERE database = current_database() AND slot_name LIKE 'orchestrate%'`;

/** What a command printed, held against the schema of that command: every test that reads one checks it. */
function documentOf<T>(command: string, stdout: string): T {
  const document = JSON.parse(stdout) as T;
  const problems = schemaProblems(command, document);
  if (problems.length > 0) throw new Error(`not by the schema of ${command}: ${problems.join('; ')}`);
  return document;
}

/**
 * @param urls of the login that the program uses; the sync role's unless given.
 * @param options further variables of its environment.
 * @returns how to drive the program on these two databases.
 */
export function journey(
  pair: Pair,
  urls?: { blue: string; green: string },
  options: Readonly<Record<string, string>> = {},
): Journey {
  const environment = {
    PATH: process.env['PATH'] ?? '',
    HOME: process.env['HOME'] ?? '/',
    NO_COLOR: '1',
    // Slot names belong to the whole server, which other tests use at the same time.
    ORCHESTRATE_MIGRATION: `on-${pair.green.database.replaceAll('_', '-')}`,
    ORCHESTRATE_BLUE_URL: urls?.blue ?? pair.blue.urls.sync,
    ORCHESTRATE_GREEN_URL: urls?.green ?? pair.green.urls.sync,
    ORCHESTRATE_METRICS_LISTEN: '127.0.0.1:0',
    ...options,
  };
  const start = (args: readonly string[], more: Record<string, string> = {}): Running => {
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      env: { ...environment, ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (exit) =>
        resolve({ exit, stdout, stderr, json: <T>() => documentOf<T>(args[0] ?? '', stdout) }),
      );
    });
    return {
      process: child,
      ended,
      stderr: () => stderr,
      kill: (signal = 'SIGTERM') => void child.kill(signal),
    };
  };
  const commandIn = (more: Record<string, string>, ...args: string[]) => start(args, more).ended;
  const status = async () => (await commandIn({}, 'status', '--json')).json<StatusDocument>();
  return {
    start,
    run: (more = {}, ...flags) => start(['run', ...flags], more),
    command: (...args) => commandIn({}, ...args),
    commandIn,
    status,
    ready: (running) =>
      until(
        'the first clean sweep and the way back',
        async () => {
          if (running && running.process.exitCode !== null)
            throw new Error(`run ended with ${running.process.exitCode}: ${running.stderr().slice(-2000)}`);
          const s = await status();
          if (s.phase !== 'syncing' || s.verify.last_success === null) return null;
          if ((await rows(pair.green.urls.superuser, PREPARED)).length === 0) return null;
          const standby = s.serving === 'blue' ? pair.green : pair.blue;
          return (await rows(standby.urls.superuser, SLOT)).length > 0 ? s : null;
        },
        90_000,
      ),
  };
}

/** The command line without a process of its own: quick, for everything that signals and streams play no part in. */
import { PassThrough } from 'node:stream';
import { execute } from '../../orchestrator/cli/execute.ts';

export interface Outcome {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The one JSON document on stdout. @throws when it is not exactly one. */
  json<T = Record<string, unknown>>(): T;
}

/** Runs a command line off a terminal, with exactly this environment. */
export async function orchestrate(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const { signal } = new AbortController();
  const exit = await execute(args, { stdin: { isTTY: false }, stdout, stderr, environment, signal });
  const text = String(stdout.read() ?? '');
  return {
    exit,
    stdout: text,
    stderr: String(stderr.read() ?? ''),
    json: <T>() => JSON.parse(text) as T,
  };
}

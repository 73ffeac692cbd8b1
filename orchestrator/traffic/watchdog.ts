import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { TrafficTask } from './driver.ts';

/** The watch over a pause: whatever happens to us, the clients are resumed at the deadline. */
export interface PauseWatchdog {
  /** The handover is decided, or undone: resuming the clients is the runner's again. */
  dismiss(): void;
}

/**
 * Starts a detached process that calls `command resume` at the task's deadline, unless it is dismissed before.
 * @param environment what the command is called with.
 */
export function watchPause(
  command: string,
  task: TrafficTask,
  environment: NodeJS.ProcessEnv,
): PauseWatchdog {
  return watchPauseWith(new URL('./watchdog-process.js', import.meta.url), {
    args: [command, String(task.deadline)],
    environment,
  });
}

/**
 * Starts a detached process that outlives us: a runner that dies after the pause must not leave the clients waiting
 * for ever (HISTORIES 22).
 * @param start `input` is one line for the process to read; another line dismisses it.
 */
export function watchPauseWith(
  script: URL,
  start: {
    readonly args?: readonly string[];
    readonly environment?: NodeJS.ProcessEnv;
    readonly input?: string;
  },
): PauseWatchdog {
  const child = spawn(process.execPath, [fileURLToPath(script), ...(start.args ?? [])], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: start.environment ?? { PATH: process.env['PATH'] ?? '' },
  });
  child.once('error', () => {});
  child.stdin.on('error', () => {});
  child.unref();
  (child.stdin as unknown as { unref(): void }).unref();
  if (start.input !== undefined) child.stdin.write(`${start.input}\n`);
  return { dismiss: () => child.stdin.end('dismissed\n') };
}

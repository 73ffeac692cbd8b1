import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { TrafficTask } from './driver.ts';

/** The watch over a pause: whatever happens to us, the clients are resumed at the deadline. */
export interface PauseWatchdog {
  /** The handover is decided, or undone: resuming the clients is the runner's again. */
  dismiss(): void;
}

/**
 * Starts a detached process that calls `command resume` at the task's deadline, unless it is dismissed before. It
 * outlives us: a runner that dies after the pause must not leave the clients waiting for ever (HISTORIES 22).
 * @param environment what the command is called with.
 */
export function watchPause(
  command: string,
  task: TrafficTask,
  environment: NodeJS.ProcessEnv,
): PauseWatchdog {
  const script = fileURLToPath(new URL('./watchdog-process.js', import.meta.url));
  const child = spawn(process.execPath, [script, command, String(task.deadline)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: environment,
  });
  child.once('error', () => {});
  child.stdin.on('error', () => {});
  child.unref();
  (child.stdin as unknown as { unref(): void }).unref();
  return { dismiss: () => child.stdin.end('dismissed\n') };
}

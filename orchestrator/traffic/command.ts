import { spawn } from 'node:child_process';
import { failure } from '../errors/failure.ts';
import type { TrafficDriver, TrafficTask } from './driver.ts';
import { type PauseWatchdog, watchPause } from './watchdog.ts';

type Step = 'check' | 'pause' | 'switch' | 'resume' | 'undo';

/** @returns the environment of one call of the operator's command (DESIGN 7); it holds no connection URL. */
function environmentOf(task: TrafficTask): NodeJS.ProcessEnv {
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !name.startsWith('ORCHESTRATE_') && !name.startsWith('PG'),
    ),
  );
  return {
    ...inherited,
    ORCHESTRATE_MIGRATION: task.migration,
    ORCHESTRATE_ATTEMPT: task.attempt,
    ORCHESTRATE_KIND: task.kind,
    ORCHESTRATE_FROM: task.from,
    ORCHESTRATE_TO: task.to,
    ORCHESTRATE_DEADLINE: task.deadline.toFixed(3),
  };
}

/** Runs `command step` on the runner's host. @throws OrchestrateError TRAFFIC_FAILED when it does not end with 0 in time. */
function call(command: string, step: Step, task: TrafficTask): Promise<void> {
  const remainingMs = Math.max(1_000, task.deadline * 1000 - Date.now());
  return new Promise((resolve, reject) => {
    const child = spawn(command, [step], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: environmentOf(task),
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), Math.min(remainingMs, 60_000));
    const fail = (found: string) =>
      reject(
        failure('TRAFFIC_FAILED', {
          message: `the traffic command failed at ${step}`,
          expected: 'exit code 0',
          found,
        }),
      );
    child.once('error', (error) => {
      clearTimeout(timer);
      fail((error as NodeJS.ErrnoException).code ?? 'it cannot be started');
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else fail(code === null ? `signal ${signal}` : `exit code ${code}`);
    });
  });
}

/** A driver that calls the operator's own program with `check`, `pause`, `switch`, `resume` or `undo`. */
export function commandTraffic(command: string): TrafficDriver {
  let watchdog: PauseWatchdog | undefined;
  const dismiss = () => {
    watchdog?.dismiss();
    watchdog = undefined;
  };
  return {
    name: 'command',
    check: async (task) => {
      await call(command, 'check', task);
      return [];
    },
    pause: async (task) => {
      watchdog = watchPause(command, task, environmentOf(task));
      await call(command, 'pause', task);
    },
    decided: dismiss,
    switch: (task) => call(command, 'switch', task),
    resume: (task) => call(command, 'resume', task),
    undo: async (task) => {
      await call(command, 'undo', task);
      dismiss();
    },
  };
}

/** What a role is for; each is a command, or several that need the same. */
export const TASKS = [
  'preflight',
  'status',
  'events',
  'run',
  'worker',
  'migrate',
  'verify',
  'cutover',
  'revert',
  'abort',
  'finalize',
  'pause',
  'resume',
] as const;
export type Task = (typeof TASKS)[number];

/**
 * The kinds of login behind the tasks.
 * `sync`: the one login that passes the fence. Whatever writes rows uses it: `run` and `worker` alike, and a command
 * that finds no runner and has to be one.
 * `watch`: reads catalogs and the control schemas. `ask`: that, and may ask a runner for one command.
 * `owner`: acts as the tables' owner, and does nothing else.
 */
export type Login = 'sync' | 'watch' | 'ask' | 'owner';

const LOGINS: Readonly<Record<Task, Login>> = {
  preflight: 'watch',
  status: 'watch',
  events: 'watch',
  run: 'sync',
  worker: 'sync',
  migrate: 'owner',
  verify: 'ask',
  cutover: 'ask',
  revert: 'ask',
  abort: 'ask',
  finalize: 'ask',
  pause: 'ask',
  resume: 'ask',
};

export function loginOf(task: Task): Login {
  return LOGINS[task];
}

/** @returns the role a task gets unless another is named; tasks with the same rights share one. */
export function defaultRole(task: Task): string {
  switch (loginOf(task)) {
    case 'sync':
      return 'orchestrate_sync';
    case 'watch':
      return 'orchestrate_status';
    case 'owner':
      return 'orchestrate_migrate';
    case 'ask':
      return `orchestrate_${task}`;
  }
}

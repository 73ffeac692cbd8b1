/**
 * What each command does, in one line, in the order in which a migration meets them. They stand apart from the
 * commands so that `orchestrate --help` can be answered without loading any of them.
 */
export const SUMMARIES = {
  preflight: 'Check both databases, change nothing, report every finding',
  plan: 'What a run would create, move and remove, with these settings, and how long the copy takes',
  run: 'Do the work: prepare, copy, build, sync, sweep; carry out what other commands ask for',
  worker: 'Help a runner to copy, from here: takes chunks until none is left',
  status: 'Where the migration is, who serves, how far behind, and what to do next',
  events: 'The journal: everything the runner decided, with LSNs and times',
  verify: 'Compare both sides anew, completely, at one LSN: 0 clean, 3 differences',
  cutover: 'Hand the writes over from blue to green, inside a bounded and verified freeze',
  revert: 'Hand the writes back from green to blue, with every write made on green',
  abort: 'Undo everything, before the first handover was decided; blue stays in service',
  finalize: 'End the migration with the side that serves now; there is no revert after it',
  pause: 'Hold copy and sweeps; sync goes on',
  resume: 'Let copy and sweeps go on',
  migrate: 'The schema migrations of the organisational model, without a run',
  grants: 'The SQL that gives a login the rights of one task, and no others; no database is asked',
  rehearse: 'The whole journey with a writing application: copy, sync, cutover, revert, cutover, finalize',
  config: 'Check the configuration, or show what holds and where it comes from; no database is asked',
  version: 'The version of this program and of Node.js',
  completion: 'A script that completes commands and flags in your shell',
} as const;

export type CommandName = keyof typeof SUMMARIES;

/** Commands with a word after their name that has to be given. */
export const WITH_ACTION: readonly CommandName[] = ['migrate', 'config', 'completion'];

import { abort } from './abort.ts';
import type { Command } from './command.ts';
import { completion } from './completion.ts';
import { config } from './config.ts';
import { cutover } from './cutover.ts';
import { events } from './events.ts';
import { finalize } from './finalize.ts';
import { grants } from './grants.ts';
import { migrate } from './migrate.ts';
import { pause } from './pause.ts';
import { plan } from './plan.ts';
import { preflight } from './preflight.ts';
import { rehearse } from './rehearse.ts';
import { resume } from './resume.ts';
import { revert } from './revert.ts';
import { run } from './run.ts';
import { version } from './show-version.ts';
import { status } from './status.ts';
import { verify } from './verify.ts';
import { worker } from './worker.ts';

/** Every command, in the order in which a migration meets them. What they need is loaded when they run. */
export const COMMANDS: readonly Command[] = [
  preflight,
  plan,
  run,
  worker,
  status,
  events,
  verify,
  cutover,
  revert,
  abort,
  finalize,
  pause,
  resume,
  migrate,
  grants,
  rehearse,
  config,
  version,
  completion,
];

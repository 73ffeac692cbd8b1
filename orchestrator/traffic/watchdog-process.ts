import { spawnSync } from 'node:child_process';

/**
 * The detached process behind `watchPause`: `node watchdog-process.js COMMAND DEADLINE` (epoch seconds). It ends
 * quietly when it reads a line; when its input merely ends, the runner has died, and it stays until the deadline.
 */
const [, , command, deadline] = process.argv;
const waitMs = Math.max(0, Number(deadline) * 1000 - Date.now());

process.on('SIGHUP', () => {});
process.stdin.once('data', () => process.exit(0));
process.stdin.on('end', () => {});
setTimeout(() => {
  if (command !== undefined) spawnSync(command, ['resume'], { stdio: 'ignore', timeout: 30_000 });
  process.exit(0);
}, waitMs);

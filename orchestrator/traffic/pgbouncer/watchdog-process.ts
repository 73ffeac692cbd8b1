import { createInterface } from 'node:readline';
import type { PauseOfPgbouncer } from '../pgbouncer.ts';
import { onEach } from './console.ts';

/**
 * The detached process behind a pause of pgbouncer. The first line of its input says what is paused, and until when
 * (consoles are secrets: never an argument); the second one dismisses it. When the input merely ends the runner has
 * died, and it stays until the deadline.
 */
process.on('SIGHUP', () => {});

let watched = false;
createInterface({ input: process.stdin }).on('line', (line) => {
  if (watched) process.exit(0);
  watched = true;
  const { consoles, database, deadline } = JSON.parse(line) as PauseOfPgbouncer;
  setTimeout(
    () => {
      void onEach(consoles, (console) => console.resume(database))
        .catch(() => {})
        .finally(() => process.exit(0));
    },
    Math.max(0, deadline * 1000 - Date.now()),
  );
});
process.stdin.on('end', () => {
  if (!watched) process.exit(0);
});

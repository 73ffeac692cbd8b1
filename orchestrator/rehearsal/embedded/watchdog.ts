import { type ChildProcess, spawn } from 'node:child_process';

/**
 * A shell that outlives this process. It reads one line for every change of what it guards; when the pipe ends
 * without `done`, this process has died, however that happened, and the shell stops the server and removes the
 * directory. The pid comes through the pipe, not from a file that a later process's pid could match; only
 * between `starting` and `pid` (a kill in that instant) postmaster.pid is believed.
 *
 * $1 cluster directory, $2 "remove" or "keep".
 */
const WATCHDOG_SCRIPT = `
trap '' HUP INT QUIT TERM
state=none
pid=
while read -r word value; do
  case $word in
    starting) state=starting pid= ;;
    pid) state=server pid=$value ;;
    initdb|program) state=initdb pid=$value ;;
    none) state=none pid= ;;
    done) exit 0 ;;
  esac
done
lock="$1/data/postmaster.pid"
n=0
while [ "$state" = starting ] && [ -z "$pid" ] && [ "$n" -lt 20 ]; do
  if [ -s "$lock" ]; then read -r pid < "$lock"; state=server; else sleep 0.1; n=$((n + 1)); fi
done
if [ -n "$pid" ]; then
  kill -INT "$pid" 2>/dev/null
  n=0
  while [ "$n" -lt 150 ] && kill -0 "$pid" 2>/dev/null; do
    if [ "$state" = server ] && [ ! -e "$lock" ]; then break; fi
    sleep 0.1
    n=$((n + 1))
  done
  if [ "$n" -ge 150 ]; then kill -QUIT "$pid" 2>/dev/null; sleep 2; fi
fi
if [ "$2" = remove ]; then rm -rf -- "$1"; fi
`;

/** Guards one cluster directory against the death of this process. */
export class Watchdog {
  readonly #shell: ChildProcess;

  /** @param remove whether the directory goes with this process, or only the server. */
  constructor(directory: string, remove: boolean) {
    // Detached: a Ctrl-C in the terminal goes to the foreground process group and must not reach it.
    this.#shell = spawn(
      '/bin/sh',
      ['-c', WATCHDOG_SCRIPT, 'watchdog', directory, remove ? 'remove' : 'keep'],
      {
        cwd: '/',
        detached: true,
        stdio: ['pipe', 'ignore', 'ignore'],
        env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin' },
      },
    );
    this.#shell.on('error', () => undefined);
    this.#shell.stdin?.on('error', () => undefined);
    // It must not keep this process alive: its end is what the watchdog waits for.
    this.#shell.unref();
    (this.#shell.stdin as { unref?: () => void } | null)?.unref?.();
  }

  /** Said before a server process is made; `running` follows. */
  starting(): void {
    this.#say('starting');
  }

  /** The server (or initdb, or another program that has no lock file) now runs as this process. */
  running(what: 'pid' | 'initdb' | 'program', pid: number): void {
    this.#say(`${what} ${pid}`);
  }

  /** Nothing runs; the directory is still guarded. */
  idle(): void {
    this.#say('none');
  }

  /** Nothing is left to guard. */
  dismiss(): void {
    this.#say('done');
    this.#shell.stdin?.end();
  }

  #say(line: string): void {
    this.#shell.stdin?.write(`${line}\n`);
  }
}

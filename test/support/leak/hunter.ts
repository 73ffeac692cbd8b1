/** Looks through every kind of output of the program for what must not be in it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { ident } from '../../../src/mapping/identifier.ts';
import { PROGRAM } from '../program.ts';
import { rows } from '../sql.ts';
import { type Form, formsOf, type Sought } from './quarry.ts';

/** Where what was found; never the text itself. */
export interface Find {
  readonly where: string;
  readonly name: string;
  readonly encoding: string;
  /** What stands around it, with the find itself blacked out. */
  readonly around: string;
}

/** How a process ended, and what it said. */
export interface Said {
  readonly exit: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One process whose every word is looked at. */
export interface Watched {
  readonly process: ChildProcess;
  readonly ended: Promise<Said>;
  stdout(): string;
  stderr(): string;
}

/** Tables of the control schemas that hold rows on purpose (DESIGN 5): only secrets are looked for in them. */
const HOLD_ROWS = ['parked', 'kept'];

const TABLES = `
  SELECT relname AS name FROM pg_class
  WHERE relnamespace = 'orchestrator'::regnamespace AND relkind IN ('r', 'v')`;

/** What a stranger with pg_monitor sees of our sessions; of every one of them its last statement. */
const SESSIONS = `
  SELECT coalesce(query, '') || E'\\n' || coalesce(application_name, '') AS said
  FROM pg_stat_activity
  WHERE usename = $1`;

const SAMPLE_EVERY_MS = { sessions: 50, processes: 250 };

export class Hunter {
  private readonly secrets: readonly Form[];
  private readonly all: readonly Form[];
  private readonly found = new Map<string, Find>();
  private readonly children = new Set<ChildProcess>();
  private readonly unlisted = new Set<string>();
  private readonly timers: NodeJS.Timeout[] = [];
  private readonly samplers: pg.Client[] = [];
  private readonly looks = new Map<string, number>();
  private readonly known = new Set<string>();

  /**
   * @param secrets must be nowhere
   * @param values of rows; only the tables that hold rows may have them
   */
  constructor(secrets: readonly Sought[], values: readonly Sought[]) {
    this.secrets = formsOf(secrets);
    this.all = formsOf([...secrets, ...values]);
  }

  /** What was found so far. */
  get finds(): readonly Find[] {
    return [...this.found.values()];
  }

  /** Characters looked at, by kind of output: a hunt that saw nothing proves nothing. */
  get seen(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.looks);
  }

  /** @param kind of output, and which one: `stdout: status --json` */
  look(kind: string, which: string, text: string, forms: readonly Form[] = this.all): void {
    this.looks.set(kind, (this.looks.get(kind) ?? 0) + text.length);
    // Samples repeat themselves a thousand times.
    const key = `${kind}\0${text}`;
    if (this.known.has(key)) return;
    this.known.add(key);
    const where = which === '' ? kind : `${kind}: ${which}`;
    for (const form of forms) {
      const at = text.indexOf(form.text);
      const find = `${where}|${form.name}|${form.encoding}`;
      if (at < 0 || this.found.has(find)) continue;
      const around = `${text.slice(Math.max(0, at - 120), at)}▮${text.slice(at + form.text.length, at + form.text.length + 60)}`;
      this.found.set(find, { where, name: form.name, encoding: form.encoding, around });
    }
  }

  /** Starts the program, or any other with `program`, and looks at what it says when it has ended. */
  start(
    args: readonly string[],
    environment: Readonly<Record<string, string>>,
    options: {
      readonly as?: string;
      readonly node?: readonly string[];
      readonly program?: string;
      readonly cwd?: string;
      readonly listed?: boolean;
    } = {},
  ): Watched {
    const child = spawn(process.execPath, [...(options.node ?? []), options.program ?? PROGRAM, ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    this.children.add(child);
    // A URL that the operator gives as a flag is on the command line until the program has begun.
    if (options.listed === false) this.unlisted.add(String(child.pid));
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text: string) => {
        said[name] += text;
      });
    const which = options.as ?? args.filter((arg) => !arg.includes('://')).join(' ');
    const ended = new Promise<Said>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (exit, signal) => {
        this.children.delete(child);
        for (const name of ['stdout', 'stderr'] as const) this.look(name, which, said[name]);
        resolve({ exit, signal, ...said });
      });
    });
    return { process: child, ended, stdout: () => said.stdout, stderr: () => said.stderr };
  }

  /** Runs the program to its end. */
  run(args: readonly string[], environment: Readonly<Record<string, string>>): Promise<Said> {
    return this.start(args, environment).ended;
  }

  /** Every file below a directory. */
  files(kind: string, directory: string): void {
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true }))
      if (entry.isFile())
        this.look(kind, entry.name, readFileSync(join(entry.parentPath, entry.name), 'utf8'));
  }

  async scrape(url: string): Promise<void> {
    for (const path of ['/metrics', '/healthz', '/readyz', '/nothing'])
      this.look('metrics', path, await (await fetch(`${url}${path}`)).text());
  }

  /** Every row of every table and view of ours. */
  async controlSchema(side: string, superuserUrl: string): Promise<void> {
    for (const { name } of await rows<{ name: string }>(superuserUrl, TABLES)) {
      const held = await rows<{ row: string }>(
        superuserUrl,
        `SELECT to_jsonb(t)::text AS row FROM orchestrator.${ident(name)} AS t`,
      );
      const forms = HOLD_ROWS.includes(name) ? this.secrets : this.all;
      for (const { row } of held) this.look('control schema', `${side} ${name}`, row, forms);
    }
  }

  /** From now on: what others see of our sessions on a server. @param role the login of ours */
  async watchSessions(side: string, superuserUrl: string, role: string): Promise<void> {
    const client = new pg.Client({ connectionString: superuserUrl });
    client.on('error', () => {});
    await client.connect();
    this.samplers.push(client);
    let busy = false;
    this.timers.push(
      setInterval(() => {
        if (busy) return;
        busy = true;
        client
          .query<{ said: string }>(SESSIONS, [role])
          .then(({ rows: sessions }) => {
            for (const { said } of sessions) this.look('pg_stat_activity', side, said);
          })
          .catch(() => {})
          .finally(() => {
            busy = false;
          });
      }, SAMPLE_EVERY_MS.sessions),
    );
  }

  /** From now on: the command line of every process of this machine that this one or a descendant of it has started. */
  watchProcesses(): void {
    this.timers.push(setInterval(() => this.processes(), SAMPLE_EVERY_MS.processes));
  }

  private processes(): void {
    const parents = new Map<string, string>();
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
      try {
        // The name may hold blanks and brackets; what follows its last bracket does not.
        parents.set(
          pid,
          readFileSync(`/proc/${pid}/stat`, 'utf8')
            .replace(/^.*\) \S /s, '')
            .split(' ', 1)[0] ?? '',
        );
      } catch {
        // It has ended.
      }
    const ours = new Set([...this.children].map((child) => String(child.pid)));
    const isOurs = (pid: string, depth = 0): boolean =>
      ours.has(pid) || (depth < 20 && parents.has(pid) && isOurs(parents.get(pid) ?? '', depth + 1));
    for (const pid of parents.keys()) if (isOurs(pid) && !this.unlisted.has(pid)) this.commandLine(pid);
  }

  /** What `ps` shows of one process. */
  commandLine(pid: string | number): void {
    try {
      this.look('command line', '', readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
    } catch {
      // It has ended.
    }
  }

  async end(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    for (const child of this.children) child.kill('SIGKILL');
    await Promise.all(this.samplers.map((client) => client.end().catch(() => {})));
  }
}

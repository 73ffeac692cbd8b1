/** The forward stream as the program runs it, in a process of its own that can be killed; started again until it is told to stop. */
import { type ChildProcess, spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { PROGRAM } from './program.ts';

const BUILT = pathToFileURL(join(dirname(PROGRAM), '/')).href;

/** Says `starting`; ends with 9 when the stream stopped for good, and what it says then is a line of JSON. */
export const STREAM_PROGRAM = `
  import { setTimeout as delay } from 'node:timers/promises';
  import { parseEndpoint } from '${BUILT}pg/endpoint.js';
  import { namesOf, relationsOf } from '${BUILT}state/names.js';
  import { Applier } from '${BUILT}stream/applier.js';
  import { forwardSink } from '${BUILT}stream/apply.js';
  import { judgeFailure } from '${BUILT}stream/stream-failure.js';
  const { BLUE, GREEN, MIGRATION, OPTIONS } = process.env;
  const schemas = { source: 'public', org: 'public' };
  const nothing = () => {};
  const ctx = {
    names: namesOf(MIGRATION), schemas, relations: relationsOf(schemas),
    endpoints: { blue: parseEndpoint('blue', BLUE), green: parseEndpoint('green', GREEN) },
    log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
    metrics: { set: nothing, add: nothing, observe: nothing },
    claim: () => ({ migration: MIGRATION, epoch: 0n, generation: 0n }),
    signal: new AbortController().signal,
    journal: async () => {},
  };
  const fatal = (error) => {
    const { code, message, detail } = error;
    process.stdout.write(JSON.stringify({ code, message, ...detail, cause: undefined }) + '\\n', () => process.exit(9));
  };
  // Whoever started us is gone.
  process.stdin.resume().on('end', () => process.exit(0));
  process.stdout.write('starting\\n');
  for (;;) {
    const applier = new Applier(ctx, 'forward', forwardSink(ctx, { mode: 'syncing', truncate: 'apply' }), JSON.parse(OPTIONS));
    applier.onFatal(fatal);
    try {
      await applier.start();
      break;
    } catch (error) {
      const { error: judged, verdict } = judgeFailure(error, { lsn: 0n, singly: false });
      if (verdict !== 'retry') {
        fatal(judged);
        break;
      }
      await delay(100);
    }
  }`;

export interface StreamProcessOptions {
  readonly urls: { readonly blue: string; readonly green: string };
  readonly migration: string;
  readonly applier: { readonly maxChanges: number; readonly maxQueueBytes: number };
}

export class StreamProcess {
  readonly #options: StreamProcessOptions;
  #child: ChildProcess | undefined;
  #failpoint: string | undefined;
  #stopping = false;
  #fatal: string | undefined;
  readonly #running: Promise<void>;
  /** How often the program has ended at a failpoint. */
  crashes = 0;

  constructor(options: StreamProcessOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** What the stream said when it stopped for good. */
  get fatal(): string | undefined {
    return this.#fatal;
  }

  /** SIGKILL; it is started again at once. @param failpoint armed at the next start, such as `apply.before:crash:3`. */
  kill(failpoint?: string): void {
    this.#failpoint = failpoint;
    this.#child?.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#child?.kill('SIGKILL');
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopping && this.#fatal === undefined) {
      const failpoint = this.#failpoint;
      this.#failpoint = undefined;
      const ended = await this.#once(failpoint);
      if (failpoint !== undefined && ended === 'SIGKILL') this.crashes += 1;
      else if (!this.#stopping && ended !== 'SIGKILL' && this.#fatal === undefined) {
        this.#fatal = `the program ended with ${ended}`;
      }
      await delay(10);
    }
  }

  #once(failpoint: string | undefined): Promise<string> {
    const { urls, migration, applier } = this.#options;
    const child = spawn(process.execPath, ['--input-type=module', '-e', STREAM_PROGRAM], {
      env: {
        PATH: process.env['PATH'] ?? '',
        BLUE: urls.blue,
        GREEN: urls.green,
        MIGRATION: migration,
        OPTIONS: JSON.stringify(applier),
        ...(failpoint === undefined ? {} : { ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: failpoint }),
      },
      stdio: ['pipe', 'pipe', failpoint === undefined ? 'inherit' : 'ignore'],
    });
    this.#child = child;
    let said = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        if (code === 9) this.#fatal = said.trim().split('\n').at(-1) ?? '';
        resolve(signal ?? String(code));
      });
    });
  }
}

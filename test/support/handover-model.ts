/** The Promela model of the handover: where it is, its table of edges, and how it is checked. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

export const MODEL = resolve(import.meta.dirname, '../model/handover.pml');

/** How much may happen in one run; `handover.pml` says what each bound counts. */
export interface Bounds {
  readonly ATTEMPTS: number;
  readonly FAULTS: number;
  readonly WRITERS: 1 | 2;
  readonly WRITES: number;
  readonly ROUNDS: 0 | 1;
  readonly STEPS: 0 | 1;
}

export interface Verdict {
  readonly errors: number;
  /** The assertion that failed, as the checker prints it; empty when none did. */
  readonly violated: string;
  readonly states: number;
  /** Lines of the model, `file:line` text, that no run reached. */
  readonly unreached: readonly string[];
}

const run = promisify(execFile);

/**
 * Checks every interleaving within the bounds.
 * @param defines mutants, or SLOW.
 * @param optimise the compiler's own work costs more than it saves below a few million states.
 * @throws Error when the search was not complete: a bound of memory, depth or time was met.
 */
export async function check(
  bounds: Bounds,
  defines: readonly string[] = [],
  optimise: '-O0' | '-O2' = '-O0',
  timeoutMs = 80_000,
): Promise<Verdict> {
  const dir = await mkdtemp(join(tmpdir(), 'handover-model-'));
  try {
    const flags = [
      ...Object.entries(bounds).map(([name, n]) => `-D${name}=${n}`),
      ...defines.map((d) => `-D${d}`),
    ];
    await run('spin', ['-a', ...flags, MODEL], { cwd: dir });
    const memory = ['-DSAFETY', '-DCOLLAPSE', '-DVECTORSZ=1024', '-DMEMLIM=2500'];
    await run('cc', [optimise, ...memory, '-o', 'pan', 'pan.c'], { cwd: dir });
    const { stdout } = await run(join(dir, 'pan'), ['-m200000', '-w22'], {
      cwd: dir,
      timeout: timeoutMs,
      maxBuffer: 64 << 20,
    });
    const errors = Number(/errors: (\d+)/.exec(stdout)?.[1] ?? Number.NaN);
    const violated = /assertion violated (.*) \(at depth/.exec(stdout)?.[1] ?? '';
    const incomplete = /Search not completed|max search depth too small|out of memory/.exec(stdout);
    if (Number.isNaN(errors) || (incomplete && violated === ''))
      throw new Error(`no complete search:\n${stdout}`);
    return {
      errors,
      violated,
      states: Number(/(\d+) states, stored/.exec(stdout)?.[1]),
      unreached: [...stdout.matchAll(/^\t\S*handover\.pml:(\d+), state \d+, "(.*)"$/gm)].map(
        (m) => `${m[1]} ${m[2]}`,
      ),
    };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

export interface Edges {
  /** What the model itself does. */
  readonly modelled: readonly (readonly [string, string])[];
  /** Moves of the run that no handover is part of. */
  readonly outside: readonly (readonly [string, string])[];
}

/** Words of the journal that are other words in Promela. */
const WORDS: Readonly<Record<string, string>> = { switched: 'switch' };
const word = (name: string): string => WORDS[name] ?? name.replaceAll('_', '-');

/** @returns the edges, in the words of the journal. */
export async function readEdges(): Promise<Edges> {
  const text = await readFile(MODEL, 'utf8');
  return {
    modelled: [...text.matchAll(/\bEDGE\((\w+), (\w+)\)/g)]
      .map((m) => [word(m[1] ?? ''), word(m[2] ?? '')] as const)
      .filter(([from]) => from !== 'from' && from !== 'a'),
    outside: [...text.matchAll(/outside: ([\w-]+) -> ([\w-]+)/g)].map(
      (m) => [m[1] ?? '', m[2] ?? ''] as const,
    ),
  };
}

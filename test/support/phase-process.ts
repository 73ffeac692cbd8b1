/** A phase in a process of its own, so that a failpoint can kill it. */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Pair } from './databases.ts';
import { PROGRAM } from './program.ts';

const BUILT = pathToFileURL(join(dirname(PROGRAM), '/')).href;

const SCRIPT = `
  import { parseEndpoint } from '${BUILT}pg/endpoint.js';
  import { namesOf, relationsOf } from '${BUILT}state/names.js';
  import { abort } from '${BUILT}phases/abort.js';
  import { ensureControl } from '${BUILT}phases/control.js';
  import { finalize } from '${BUILT}phases/finalize.js';
  import { prepare } from '${BUILT}phases/prepare.js';
  const { BLUE, GREEN, MIGRATION, GENERATION, PHASE } = process.env;
  const schemas = { source: 'public', org: 'public' };
  const nothing = () => {};
  const ctx = {
    names: namesOf(MIGRATION), schemas, relations: relationsOf(schemas),
    endpoints: { blue: parseEndpoint('blue', BLUE), green: parseEndpoint('green', GREEN) },
    log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
    metrics: { set: nothing, add: nothing, observe: nothing },
    claim: () => ({ migration: MIGRATION, epoch: 0n, generation: BigInt(GENERATION) }),
    signal: new AbortController().signal,
    journal: async () => {},
  };
  switch (PHASE) {
    case 'prepare':
      await ensureControl(ctx);
      await (await prepare(ctx)).slot.release();
      break;
    case 'abort':
      await abort(ctx);
      break;
    case 'finalize':
      await finalize(ctx, { keepControl: false, keepCompatView: false, release: 'blue' });
  }`;

export interface PhaseRun {
  readonly migration: string;
  readonly generation?: bigint;
  readonly phase: 'prepare' | 'abort' | 'finalize';
  /** Such as `slot.after:crash`. */
  readonly failpoint: string;
}

/** @returns the exit code or the signal that ended the process, and what it printed on stderr. */
export async function runPhase(pair: Pair, run: PhaseRun): Promise<{ ended: string; stderr: string }> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', SCRIPT], {
    env: {
      PATH: process.env['PATH'] ?? '',
      BLUE: pair.blue.urls.sync,
      GREEN: pair.green.urls.sync,
      MIGRATION: run.migration,
      GENERATION: String(run.generation ?? 0n),
      PHASE: run.phase,
      ORCHESTRATE_TEST: '1',
      ORCHESTRATE_FAILPOINT: run.failpoint,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ ended: signal ?? String(code), stderr }));
  });
}

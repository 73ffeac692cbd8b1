/** One copy from an empty green to the end of build, step by step, with or without a process to kill. */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'vitest';
import type { Lsn } from '../../orchestrator/pg/lsn.ts';
import { buildPhase } from '../../orchestrator/phases/build.ts';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { type CopyOptions, copyPhase } from '../../orchestrator/phases/copy.ts';
import { prepare } from '../../orchestrator/phases/prepare.ts';
import { compareSides } from '../../orchestrator/rehearsal/comparison.ts';
import type { OpenSlot } from '../../orchestrator/stream/slot.ts';
import type { Pair } from './databases.ts';
import { PROGRAM } from './program.ts';
import { runContext, type TestContext } from './run-context.ts';
import { execute, rows, withClient } from './sql.ts';

/** Slots belong to the server, not to the database: each pair has a migration of its own name. */
const migrationOf = (pair: Pair): string => pair.blue.database.replaceAll('_', '-');

/** Rows with ids 1…n, some of which are parked. */
export const fill = (pair: Pair, n: number): Promise<void> =>
  execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, llm_api_key, mcp_config)
     SELECT n, CASE WHEN n % 1000 = 0 THEN NULL WHEN n % 999 = 0 THEN '' WHEN n % 500 = 1 THEN 'shared' ELSE 'k' || n END,
            repeat(md5(n::text), 5), '{"b": 1, "a":  [2]}'
     FROM generate_series(1, ${n}) AS n;
     ANALYZE user_settings`,
  );

/** Prepares a pair; blue's rows must be there already, unless the test wants otherwise. */
export async function prepared(pair: Pair): Promise<{ ctx: TestContext; slot: OpenSlot; built: Keys }> {
  const ctx = runContext(pair, migrationOf(pair));
  await ensureControl(ctx);
  const { slot } = await prepare(ctx);
  return { ctx, slot, built: await keysOf(pair) };
}

/** Copy and build in this process, with nothing to catch up. */
export async function copyAndBuild(
  ctx: TestContext,
  slot: OpenSlot | 'resume',
  options: CopyOptions = {},
  catchUp: (until: Lsn) => Promise<void> = async () => {},
): Promise<void> {
  await copyPhase(ctx, slot, options);
  if (slot !== 'resume') await slot.release();
  await buildPhase(ctx, catchUp);
}

export type Keys = readonly {
  readonly object: string;
  readonly definition: string;
  readonly valid: boolean;
}[];

/** Every constraint and index of the org model, as the server prints it under an empty search path. */
export async function keysOf(pair: Pair): Promise<Keys> {
  return withClient(pair.green.urls.superuser, async (client) => {
    await client.query(`SET search_path = ''`);
    const { rows: keys } = await client.query<Keys[number]>(
      `SELECT format('%s %s %s', k.conrelid::regclass, k.contype, k.conname) AS object,
              format('%s %s %s', pg_get_constraintdef(k.oid), k.condeferrable, k.condeferred) AS definition,
              k.convalidated AS valid
       FROM pg_constraint AS k
       WHERE k.connamespace = 'public'::regnamespace
       UNION ALL
       SELECT i.indexrelid::regclass || ' index',
              format('%s %s %s', pg_get_indexdef(i.indexrelid), i.indisprimary, i.indisunique),
              i.indisvalid AND i.indisready
       FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
       WHERE c.relnamespace = 'public'::regnamespace
       ORDER BY 1, 2`,
    );
    return keys;
  });
}

/** Both sides hold the same facts by the rehearsal's own comparison, and the keys are those of revision 056. */
export async function expectSame(pair: Pair, built: Keys, rowCount: number): Promise<void> {
  const compared = await compareSides({
    databases: { blue: pair.blue.urls.superuser, green: pair.green.urls.superuser },
    serving: 'blue',
    greenWritten: false,
    settleMs: 0,
  });
  expect(compared.differences).toEqual([]);
  expect({ rows: compared.blueRows, account: compared.mapped + compared.parked }).toEqual({
    rows: rowCount,
    account: rowCount,
  });
  expect(built.length).toBeGreaterThan(20);
  expect(await keysOf(pair)).toEqual(built);
}

export interface ChunkRow {
  readonly lower: string;
  readonly upper: string;
  readonly status: string;
  readonly rows: string | null;
  readonly lsn: string | null;
  readonly finished: string | null;
  readonly worker: string | null;
}

/** The chunks of the copy, by range. */
export async function chunksOf(pair: Pair): Promise<ChunkRow[]> {
  return rows<ChunkRow & Record<string, unknown>>(
    pair.green.urls.superuser,
    `SELECT lower_id::text AS lower, upper_id::text AS upper, status, rows::text AS rows, detail ->> 'lsn' AS lsn,
            finished_at::text AS finished, worker
     FROM orchestrator.chunk WHERE task = 'copy' ORDER BY lower_id`,
  );
}

const BUILT = pathToFileURL(join(dirname(PROGRAM), '/')).href;

/** Runs the phase in a process of its own with a failpoint. @returns its exit code or signal, and what it printed. */
export async function phaseInProcess(
  pair: Pair,
  phase: 'copy' | 'build',
  failpoint: string | undefined,
): Promise<{ ended: string; stderr: string }> {
  const script = `
    import { parseEndpoint } from '${BUILT}pg/endpoint.js';
    import { namesOf, relationsOf } from '${BUILT}state/names.js';
    import { copyPhase } from '${BUILT}phases/copy.js';
    import { buildPhase } from '${BUILT}phases/build.js';
    const schemas = { source: 'public', org: 'public' };
    const nothing = () => {};
    const ctx = {
      names: namesOf(process.env.MIGRATION), schemas, relations: relationsOf(schemas),
      endpoints: { blue: parseEndpoint('blue', process.env.BLUE), green: parseEndpoint('green', process.env.GREEN) },
      log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
      metrics: { set: nothing, add: nothing, observe: nothing },
      claim: () => ({ migration: process.env.MIGRATION, epoch: 0n, generation: 0n }),
      signal: new AbortController().signal,
      journal: async () => {},
    };
    if (process.env.PHASE === 'copy') await copyPhase(ctx, 'resume');
    else await buildPhase(ctx, async () => {});`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: {
      PATH: process.env['PATH'] ?? '',
      BLUE: pair.blue.urls.sync,
      GREEN: pair.green.urls.sync,
      PHASE: phase,
      MIGRATION: migrationOf(pair),
      ...(failpoint === undefined ? {} : { ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: failpoint }),
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = await new Promise<string>((resolve) => {
    child.once('close', (code, signal) => resolve(signal ?? String(code)));
  });
  return { ended, stderr };
}

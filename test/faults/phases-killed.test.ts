/** Prepare, abort and finalize, killed before and after each of their durable steps, and then done again (I10, I11, I12). */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { migrateUp } from '../../migrations/migrator.ts';
import { clientConfig } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { abort } from '../../orchestrator/phases/abort.ts';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { finishEnding } from '../../orchestrator/phases/ending.ts';
import { finalize } from '../../orchestrator/phases/finalize.ts';
import { prepare } from '../../orchestrator/phases/prepare.ts';
import { type Catalog, catalogOf } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type PhaseRun, runPhase } from '../support/phase-process.ts';
import { runContext, SCHEMAS, type TestContext } from '../support/run-context.ts';
import { execute, rows } from '../support/sql.ts';
import { syncing } from '../support/syncing.ts';

let pair: Pair;
let ctx: TestContext;
beforeEach(async () => {
  pair = await freshPair();
  ctx = runContext(pair, `t-${randomBytes(4).toString('hex')}`);
});
afterEach(async () => {
  await pair.drop();
});

const catalogs = async (): Promise<Catalog[]> => [
  await catalogOf(pair.blue.urls.superuser),
  await catalogOf(pair.green.urls.superuser),
];

async function killedAt(phase: PhaseRun['phase'], point: string, generation = 0n): Promise<void> {
  const { ended, stderr } = await runPhase(pair, {
    migration: ctx.names.migration,
    generation,
    phase,
    failpoint: `${point}:crash`,
  });
  expect(stderr).toContain(`failpoint ${point} 1`);
  expect(ended).toBe('SIGKILL');
}

/** Blue takes the application's writes at every moment before a handover. */
const blueWrites = async (): Promise<void> =>
  execute(pair.blue.urls.app, `INSERT INTO user_settings (keycloak_user_id) VALUES ('w')`);

const PREPARE = [
  'control.before',
  'control-green.after',
  'control-blue.after',
  'schema.before',
  'schema.after',
  'fence.before',
  'fence.after',
  'publication.before',
  'publication.after',
  'slot.before',
  'slot.after',
  'position.after',
];

describe('prepare', () => {
  test.each(PREPARE)('killed at %s, done again, then undone', async (point) => {
    const before = await catalogs();
    await killedAt('prepare', point);
    await blueWrites();
    await ensureControl(ctx);
    const { slot, madeOrgTables } = await prepare(ctx);
    await slot.release();
    expect(madeOrgTables).toBe(true);
    expect(
      await rows(
        pair.green.urls.sync,
        'SELECT slot, lsn::text, consistent_point::text FROM orchestrator.progress',
      ),
    ).toHaveLength(1);
    await blueWrites();
    expect((await abort(ctx)).exit).toBe(0);
    expect(await catalogs()).toEqual(before);
  });

  test.each(['control-green.after', 'fence.after', 'slot.after'])(
    'killed at %s and undone at once',
    async (point) => {
      const before = await catalogs();
      await killedAt('prepare', point);
      expect((await abort(ctx)).exit).toBe(0);
      expect(await catalogs()).toEqual(before);
    },
  );
});

const ABORT = [
  'aborting.before',
  'aborting.after',
  'reopen.after',
  'fence.before',
  'fence.after',
  'schema.before',
  'schema.after',
  'control-green.before',
  'control-green.after',
  'aborted.after',
];

describe('abort', () => {
  test.each(ABORT)('killed at %s is gone on with', async (point) => {
    const before = await catalogs();
    await ensureControl(ctx);
    await (await prepare(ctx)).slot.release();
    await killedAt('abort', point);
    await blueWrites();
    // Before the mark nothing was begun; after the last step nothing is left to do.
    const ended = point === 'aborting.before' ? await abort(ctx) : await finishEnding(ctx);
    expect(ended?.document.phase).toBe(point === 'aborted.after' ? undefined : 'aborted');
    expect(await catalogs()).toEqual(before);
  });
});

const FINALIZE = [
  'finalizing.before',
  'finalizing.after',
  'clear-blue.before',
  'clear-blue.after',
  'clear-green.before',
  'clear-green.after',
  'finalized.before',
  'control-blue.dropped',
  'finalized.after',
];

describe('finalize', () => {
  test.each(FINALIZE)('killed at %s is gone on with', async (point) => {
    const config = clientConfig(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' });
    await migrateUp({ config, schemas: SCHEMAS, owner: pair.green.roles.owner, inPlace: false });
    const before = await catalogs();
    await syncing(pair, ctx, 'green');
    await killedAt('finalize', point, 1n);
    const refused = await execute(pair.blue.urls.app, 'DELETE FROM user_settings').then(
      () => false,
      () => true,
    );
    // Until blue's turn has come its fence stays closed.
    expect(refused).toBe(['finalizing.before', 'finalizing.after', 'clear-blue.before'].includes(point));
    const released = { keepControl: false, keepCompatView: false, release: 'blue' } as const;
    const ended = point === 'finalizing.before' ? await finalize(ctx, released) : await finishEnding(ctx);
    expect(ended?.document.phase).toBe(point === 'finalized.after' ? undefined : 'finalized');
    expect(await catalogs()).toEqual(before);
  });
});

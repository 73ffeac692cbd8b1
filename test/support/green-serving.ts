/** A pair after a cutover: green serves, the reverse stream starts at what green had written before it was opened. */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { setFence } from '../../orchestrator/fence/fence.ts';
import { formatLsn } from '../../orchestrator/pg/lsn.ts';
import { ensureControl, prepare } from '../../orchestrator/phases/prepare.ts';
import { Applier } from '../../orchestrator/stream/applier.ts';
import { reverseSink } from '../../orchestrator/stream/reverse.ts';
import { prepareReverse } from '../../orchestrator/stream/reverse-setup.ts';
import { identify } from '../../orchestrator/stream/slot.ts';
import { fillVacantKeys } from '../../orchestrator/stream/vacant.ts';
import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import {
  forwardList,
  inverseQuery,
  PARK_REASON,
  relationOf,
  SOURCE_LIST,
  SOURCE_NAMES,
  targetNames,
  usFromText,
} from '../../src/mapping/sql.ts';
import { TARGETS } from '../../src/mapping/target.ts';
import type { Pair } from './databases.ts';
import { runContext, type TestContext } from './run-context.ts';
import { execute, rows, withClient } from './sql.ts';

const TEXT = {
  options: '-c datestyle=ISO -c extra_float_digits=3 -c timezone=UTC',
  types: { getTypeParser: () => (value: string) => value },
} as unknown as pg.ClientConfig;

/** A migration name that no other test has: slots belong to the whole server. */
export function freshContext(pair: Pair): TestContext {
  return runContext(pair, `t-${randomBytes(4).toString('hex')}`);
}

/** Prepares both sides and moves blue's rows to green by the mapping: blue serves, green is a true copy. */
export async function copied(pair: Pair): Promise<TestContext> {
  const ctx = freshContext(pair);
  await ensureControl(ctx);
  const { slot } = await prepare(ctx);
  await slot.release();
  const source = await blueRows(pair);
  const values = SOURCE_COLUMNS.map((_, i) => source.map((row) => row[i]));
  await withClient(pair.green.urls.sync, async (client) => {
    await client.query('BEGIN');
    await client.query(`CREATE TEMP TABLE arrived AS SELECT ${SOURCE_LIST} FROM ${usFromText()}`, values);
    await client.query('CREATE INDEX ON arrived (keycloak_user_id); ANALYZE arrived');
    await client.query(`
      INSERT INTO orchestrator.parked (${SOURCE_NAMES}, reason)
      SELECT ${SOURCE_LIST}, ${PARK_REASON} FROM arrived AS us
      WHERE coalesce(us.keycloak_user_id, '') = ''
         OR EXISTS (SELECT FROM arrived AS o WHERE o.keycloak_user_id = us.keycloak_user_id AND o.id < us.id)`);
    for (const t of TARGETS)
      await client.query(`
        INSERT INTO ${relationOf(ctx.relations, t.table)} (${targetNames(t)})
        SELECT ${forwardList(t)} FROM arrived AS us
        WHERE NOT EXISTS (SELECT FROM orchestrator.parked AS p WHERE p.id = us.id)`);
    for (const table of ['"user"', 'org', 'settings'])
      await client.query(`
        SELECT setval(pg_get_serial_sequence('public.${table}', 'id'),
                      greatest((SELECT max(id) FROM arrived), 1), true)`);
    await client.query('DROP TABLE arrived');
    await client.query('COMMIT');
  });
  return ctx;
}

/** Moves serving to green, as a cutover does: roles, fences, generation, and L as the reverse stream's position. */
export async function cutOver(pair: Pair, ctx: TestContext): Promise<void> {
  const generation = ctx.claim().generation + 1n;
  await withClient(pair.green.urls.sync, async (green) => {
    const l = formatLsn((await identify(green)).flushedLsn);
    await withClient(pair.blue.urls.sync, async (blue) => {
      await blue.query('BEGIN');
      await setFence(blue, ctx, 'blue', 'closed');
      await blue.query(`UPDATE orchestrator.side SET generation = $1, role = 'standby'`, [generation]);
      await blue.query(`UPDATE orchestrator.progress SET lsn = $1 WHERE direction = 'reverse'`, [l]);
      await blue.query('COMMIT');
    });
    await green.query('BEGIN');
    await setFence(green, ctx, 'green', 'open');
    await green.query(`UPDATE orchestrator.side SET generation = $1, role = 'serving'`, [generation]);
    await green.query('COMMIT');
  });
  ctx.setClaim({ generation });
}

/** Moves serving back to blue, as a revert does after the drain; the heirs of vacant keys are made first. */
export async function revert(pair: Pair, ctx: TestContext): Promise<void> {
  const generation = ctx.claim().generation + 1n;
  await withClient(pair.green.urls.sync, async (green) => {
    await green.query('BEGIN');
    await setFence(green, ctx, 'green', 'closed');
    await green.query('COMMIT');
    await fillVacantKeys(green, ctx);
    await withClient(pair.blue.urls.sync, async (blue) => {
      const l = formatLsn((await identify(blue)).flushedLsn);
      await green.query('BEGIN');
      await green.query(`UPDATE orchestrator.side SET generation = $1, role = 'standby'`, [generation]);
      await green.query(`UPDATE orchestrator.progress SET lsn = $1 WHERE direction = 'forward'`, [l]);
      await green.query('COMMIT');
      await blue.query('BEGIN');
      await setFence(blue, ctx, 'blue', 'open');
      await blue.query(`UPDATE orchestrator.side SET generation = $1, role = 'serving'`, [generation]);
      await blue.query('COMMIT');
    });
  });
  ctx.setClaim({ generation });
}

/** A running reverse stream, and what tests ask of it. */
export interface GreenServing {
  readonly ctx: TestContext;
  readonly applier: Applier;
  /** Runs statements on green as the application. */
  green(sql: string): Promise<void>;
  /** Waits until everything committed on green so far is durable on blue. */
  drained(): Promise<void>;
  stop(): Promise<void>;
}

/** Copies, cuts over and starts the reverse stream. */
export async function greenServing(pair: Pair, options: { maxChanges?: number } = {}): Promise<GreenServing> {
  const ctx = await copied(pair);
  await prepareReverse(ctx);
  await cutOver(pair, ctx);
  return reverseStream(pair, ctx, options);
}

/** Starts the reverse stream of a pair whose green serves. */
export async function reverseStream(
  pair: Pair,
  ctx: TestContext,
  options: { maxChanges?: number } = {},
): Promise<GreenServing> {
  const applier = new Applier(ctx, 'reverse', reverseSink(ctx), options);
  await applier.start();
  return {
    ctx,
    applier,
    green: (sql) => execute(pair.green.urls.app, sql),
    drained: () => drained(pair, ctx, applier, 'green'),
    stop: async () => {
      await applier.stop();
    },
  };
}

/** Waits until everything committed on `source` so far is durable on the other side. */
export async function drained(
  pair: Pair,
  ctx: TestContext,
  applier: Applier,
  source: 'blue' | 'green',
): Promise<void> {
  const content = randomBytes(8).toString('hex');
  const failed = new AbortController();
  applier.onFatal((error) => failed.abort(error));
  const arrived = applier.waitForMessage(
    content,
    AbortSignal.any([failed.signal, AbortSignal.timeout(30_000)]),
  );
  arrived.catch(() => {});
  await rows(pair[source].urls.sync, 'SELECT pg_logical_emit_message(true, $1, $2)', [
    ctx.names.messagePrefix,
    content,
  ]);
  await arrived;
}

/** Blue's rows as text, in declared column order, by id. */
export async function blueRows(pair: Pair): Promise<(string | null)[][]> {
  return withClient(
    pair.blue.urls.superuser,
    async (client) =>
      (
        await client.query<(string | null)[]>({
          text: `SELECT ${SOURCE_LIST} FROM user_settings AS us ORDER BY us.id`,
          rowMode: 'array',
        })
      ).rows,
    TEXT,
  );
}

/** The inverse image of every user on green, as text, by id. */
export async function greenInverse(pair: Pair, ctx: TestContext): Promise<(string | null)[][]> {
  return withClient(
    pair.green.urls.superuser,
    async (client) =>
      (
        await client.query<(string | null)[]>({
          text: `${inverseQuery(ctx.relations, 'true')} ORDER BY u.id`,
          rowMode: 'array',
        })
      ).rows,
    TEXT,
  );
}

/** Green's parked rows as text, by id. */
export async function parkedRows(pair: Pair): Promise<(string | null)[][]> {
  return withClient(
    pair.green.urls.superuser,
    async (client) =>
      (
        await client.query<(string | null)[]>({
          text: `SELECT ${SOURCE_LIST} FROM orchestrator.parked AS us ORDER BY us.id`,
          rowMode: 'array',
        })
      ).rows,
    TEXT,
  );
}

/** One source row of blue as an object of text, or undefined. */
export async function blueRow(pair: Pair, id: number): Promise<Record<string, string | null> | undefined> {
  const row = (await blueRows(pair)).find(([first]) => first === String(id));
  return row && Object.fromEntries(SOURCE_COLUMNS.map((c, i) => [c.name, row[i] ?? null]));
}

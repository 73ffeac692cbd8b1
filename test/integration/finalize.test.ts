import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { migrateUp } from '../../migrations/migrator.ts';
import { clientConfig } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { finishEnding } from '../../orchestrator/phases/ending.ts';
import { finalize } from '../../orchestrator/phases/finalize.ts';
import { type Catalog, catalogOf } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { runContext, SCHEMAS, type TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';
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

/** The catalogs as the org model alone would leave them. */
async function expected(): Promise<Catalog[]> {
  const config = clientConfig(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' });
  await migrateUp({ config, schemas: SCHEMAS, owner: pair.green.roles.owner, inPlace: false });
  await execute(pair.green.urls.owner, 'ALTER TABLE org REPLICA IDENTITY FULL');
  return catalogs();
}

/** What is in `now` and not in `before`, by part. */
function added(before: Catalog | undefined, now: Catalog | undefined): Record<string, object[]> {
  const more: Record<string, object[]> = {};
  for (const [part, list] of Object.entries(now ?? {})) {
    const known = new Set((before?.[part] ?? []).map((o) => JSON.stringify(o)));
    const extra = list.filter((o) => !known.has(JSON.stringify(o)));
    if (extra.length > 0) more[part] = extra;
  }
  return more;
}

const plain = { keepControl: false, keepCompatView: false };

const refusedBy = async (url: string, sql: string): Promise<string | undefined> =>
  execute(url, sql).then(
    () => undefined,
    (error: { code: string }) => error.code,
  );

test('with green serving only the org tables, their records and the closed fence of blue stay', async () => {
  const [blue, green] = await expected();
  await syncing(pair, ctx, 'green');
  let stopped = false;
  const ended = await finalize(ctx, {
    ...plain,
    beforeRemoval: async () => {
      // The certificate comes before anything is removed.
      expect(ctx.entries.at(-1)).toMatchObject({
        event: 'certificate',
        detail: { certificate: { verdict: 'clean' } },
      });
      expect(await rows(pair.blue.urls.sync, 'SELECT FROM pg_publication')).toHaveLength(1);
      stopped = true;
    },
  });
  expect(stopped).toBe(true);
  expect(ended).toMatchObject({
    exit: 0,
    document: { outcome: 'done', phase: 'finalized', serving: 'green', certificate: { verdict: 'clean' } },
  });
  const now = await catalogs();
  expect(now[1]).toEqual(green);
  const more = added(blue, now[0]);
  expect(Object.keys(more).sort()).toEqual(['functions', 'triggers']);
  expect(more['triggers']).toMatchObject([
    { relation: 'public.user_settings', tgname: 'orchestrate_fence', tgenabled: 'A' },
  ]);
  expect(more['functions']).toMatchObject([{ name: 'public.orchestrate_fence()' }]);

  // A forgotten job cannot write to blue, whoever it is; green takes writes.
  for (const login of ['app', 'owner', 'sync', 'superuser'] as const)
    expect(await refusedBy(pair.blue.urls[login], 'DELETE FROM public.user_settings')).toBe('25006');
  expect(await refusedBy(pair.green.urls.app, `INSERT INTO org (name) VALUES ('x')`)).toBe(undefined);
});

test('with the fence released nothing stays but the org model', async () => {
  const before = await expected();
  await syncing(pair, ctx, 'green');
  const ended = await finalize(ctx, { ...plain, release: 'blue' });
  expect(ended.document.left).toEqual(['the org tables and their migration records on green']);
  expect(await catalogs()).toEqual(before);
  expect(await refusedBy(pair.blue.urls.app, 'DELETE FROM user_settings')).toBe(undefined);
});

test('with blue serving the fence of green stays closed, all five tables', async () => {
  const [blue, green] = await expected();
  await syncing(pair, ctx, 'blue');
  await finalize(ctx, plain);
  const now = await catalogs();
  expect(now[0]).toEqual(blue);
  const more = added(green, now[1]);
  expect(more['triggers']).toHaveLength(5);
  expect(Object.keys(more).sort()).toEqual(['functions', 'triggers']);
  expect(await refusedBy(pair.green.urls.app, `INSERT INTO org (name) VALUES ('x')`)).toBe('25006');
});

test('kept rows refuse a finalize that would drop them, and nothing is changed', async () => {
  await expected();
  await syncing(pair, ctx, 'green');
  await execute(
    pair.green.urls.sync,
    `INSERT INTO orchestrator.kept (k, table_name, row_text) VALUES (1, 'settings', '(1)')`,
  );
  const before = await catalogs();
  await expect(finalize(ctx, plain)).rejects.toMatchObject({ code: 'KEPT_ROWS', entry: { exit: 3 } });
  expect(await catalogs()).toEqual(before);
  const ended = await finalize(ctx, { ...plain, keepControl: true });
  expect(ended.document.left).toContain('schema orchestrator on both sides');
  expect(await rows(pair.green.urls.sync, 'SELECT phase FROM orchestrator.run')).toEqual([
    { phase: 'finalized' },
  ]);
  expect(await rows(pair.green.urls.sync, 'SELECT k FROM orchestrator.kept')).toHaveLength(1);
  const now = await catalogs();
  for (const [i, part] of [0, 1].flatMap((n) =>
    (['slots', 'publications'] as const).map((p) => [n, p] as const),
  ))
    expect(now[i]?.[part]).toEqual([]);
});

describe('refused', () => {
  test.each([
    [
      'a handover that is not finished',
      `UPDATE orchestrator.side SET generation = 2, role = 'standby'`,
      'WRONG_PHASE',
    ],
    [
      'another phase',
      `UPDATE orchestrator.run SET phase = 'building', state = '{"phase": "building"}'`,
      'WRONG_PHASE',
    ],
  ])('%s', async (_, sql, code) => {
    await expected();
    await syncing(pair, ctx, 'green');
    await execute(pair.green.urls.sync, sql);
    const before = await catalogs();
    await expect(finalize(ctx, plain)).rejects.toMatchObject({ code });
    expect(await catalogs()).toEqual(before);
  });

  test('the release of the side that serves', async () => {
    await expected();
    await syncing(pair, ctx, 'green');
    await expect(finalize(ctx, { ...plain, release: 'green' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });
});

test('a finalize that died half-way is gone on with as it was begun', async () => {
  const before = await expected();
  await syncing(pair, ctx, 'green');
  // The slot of green is in use when its turn comes: the first call ends there, with blue cleared already.
  await withClient(
    pair.green.urls.superuser,
    async (walsender) => {
      walsender
        .query(
          `START_REPLICATION SLOT "${ctx.names.slot.green}" LOGICAL 0/0 (proto_version '1', publication_names '${ctx.names.publication.green}')`,
        )
        .catch(() => {});
      await expect(finalize(ctx, { ...plain, release: 'blue' })).rejects.toMatchObject({
        code: 'LOCK_TIMEOUT',
      });
    },
    { replication: 'database' } as object,
  );
  expect(await ensureControl(ctx)).toBe('finalizing');
  expect((await finishEnding(ctx))?.document.phase).toBe('finalized');
  expect(await catalogs()).toEqual(before);
  expect(await finishEnding(ctx)).toBe(null);
});

test("with blue's schema gone already, green's row alone leads to the end", async () => {
  const before = await expected();
  await syncing(pair, ctx, 'green');
  await execute(
    pair.green.urls.sync,
    `UPDATE orchestrator.side SET ending = 'finalizing';
     INSERT INTO orchestrator.before VALUES ('finalize', '{"keepControl": false, "keepCompatView": false, "release": "blue"}')`,
  );
  await withClient(pair.blue.urls.sync, async (client) => {
    await client.query(`SELECT pg_drop_replication_slot($1)`, [ctx.names.slot.blue]);
    await client.query(`DROP PUBLICATION "${ctx.names.publication.blue}"`);
    await client.query(
      'DROP TRIGGER orchestrate_fence ON public.user_settings; DROP FUNCTION public.orchestrate_fence();',
    );
    await client.query('DROP SCHEMA orchestrator CASCADE');
  });
  expect((await finishEnding(ctx))?.exit).toBe(0);
  expect(await catalogs()).toEqual(before);
});

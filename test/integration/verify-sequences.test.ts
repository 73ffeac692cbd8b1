/** Identity counters: both sides go on above the highest id of either, and never collide (MAPPING). */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { alignSequences, RESERVED_AT_TOP, sequencesKnown } from '../../orchestrator/verify/sequences.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { copied } from '../support/green-serving.ts';
import type { TestContext } from '../support/run-context.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
let ctx: TestContext;
beforeAll(async () => {
  pair = await freshPair();
  ctx = await copied(pair);
});
afterAll(() => pair.drop());

const TABLES = { blue: ['user_settings'], green: ['"user"', 'org', 'settings'] } as const;

beforeEach(async () => {
  await execute(
    pair.blue.urls.sync,
    `DELETE FROM public.user_settings; SELECT setval('public.user_settings_id_seq', 1, false)`,
  );
  for (const t of ['settings', '"user"', 'org'])
    await execute(
      pair.green.urls.sync,
      `DELETE FROM public.${t}; SELECT setval(pg_get_serial_sequence('public.${t}', 'id'), 1, false)`,
    );
});

const align = () =>
  withClient(pair.blue.urls.sync, (blue) =>
    withClient(pair.green.urls.sync, (green) => alignSequences(blue, green, ctx)),
  );

const next = async (): Promise<Record<string, string>> => {
  const found: Record<string, string> = {};
  for (const side of ['blue', 'green'] as const)
    for (const table of TABLES[side]) {
      const [row] = await rows<{ n: string }>(
        pair[side].urls.sync,
        `SELECT nextval(pg_get_serial_sequence('public.${table}', 'id'))::text AS n`,
      );
      found[table] = row?.n ?? '';
    }
  return found;
};
const all = (n: bigint | number) => ({
  user_settings: `${n}`,
  '"user"': `${n}`,
  org: `${n}`,
  settings: `${n}`,
});

it('goes on above the highest id, wherever it is', async () => {
  await execute(pair.blue.urls.sync, 'INSERT INTO public.user_settings (id) VALUES (-7), (40)');
  await execute(pair.green.urls.sync, `INSERT INTO public.org (id, name) VALUES (90, 'o')`);
  expect(await align()).toBe(90n);
  expect(await next()).toEqual(all(91));
});

it('goes on above the last value of any sequence', async () => {
  await execute(pair.green.urls.sync, `SELECT setval(pg_get_serial_sequence('public.settings', 'id'), 700)`);
  expect(await align()).toBe(700n);
  expect(await next()).toEqual(all(701));
});

it('never lowers one', async () => {
  await execute(pair.blue.urls.sync, `SELECT setval('public.user_settings_id_seq', 700)`);
  expect(await align()).toBe(700n);
  expect(await align()).toBe(700n);
  expect(await next()).toEqual(all(701));
});

it('leaves one where it was told to begin, and takes back no value that is given out meanwhile', async () => {
  // What stands between the value seen and the one that is given next must not be lost: setval would go back to 40.
  await execute(
    pair.green.urls.owner,
    `SELECT setval(pg_get_serial_sequence('public.org', 'id'), 500, false);
     SELECT setval(pg_get_serial_sequence('public.settings', 'id'), 40)`,
  );
  expect(await align()).toBe(40n);
  const given = await next();
  expect(Number(given['org'])).toBeGreaterThan(500);
  expect(given).toMatchObject({ user_settings: '41', '"user"': '41', settings: '41' });
});

it('goes on above values that a session keeps', async () => {
  const cache = (values: number) =>
    execute(pair.green.urls.owner, `ALTER TABLE public.org ALTER id SET CACHE ${values}`);
  await cache(20);
  try {
    await withClient(pair.blue.urls.sync, (blue) =>
      withClient(pair.green.urls.sync, async (green) => {
        for (const last of [13, 21, 30, 33]) {
          await execute(
            pair.green.urls.sync,
            `SELECT setval(pg_get_serial_sequence('public.settings', 'id'), ${last})`,
          );
          const floor = await alignSequences(blue, green, ctx);
          expect(floor).toBeGreaterThanOrEqual(BigInt(last));
          const [row] = await rows<{ last: string }>(
            pair.green.urls.sync,
            `SELECT pg_sequence_last_value(pg_get_serial_sequence('public.org', 'id')::regclass)::text AS last`,
          );
          expect(BigInt(row?.last ?? 0)).toBeGreaterThanOrEqual(floor);
        }
      }),
    );
  } finally {
    await cache(1);
  }
});

it('does nothing on empty tables with negative ids', async () => {
  await execute(pair.blue.urls.sync, 'INSERT INTO public.user_settings (id) VALUES (-7)');
  expect(await align()).toBe(0n);
  expect(await next()).toEqual(all(1));
});

it('does not follow an id that leaves no room above it', async () => {
  await execute(pair.blue.urls.sync, 'INSERT INTO public.user_settings (id) VALUES (33), (2147483647)');
  expect(await align()).toBe(33n);
  expect(await next()).toEqual(all(34));
  const last = 2n ** 31n - 1n - RESERVED_AT_TOP;
  await execute(pair.blue.urls.sync, `INSERT INTO public.user_settings (id) VALUES (${last})`);
  expect(await align()).toBe(last);
});

it('says which sequences it does not know', async () => {
  const known = () =>
    withClient(pair.blue.urls.sync, (blue) =>
      withClient(pair.green.urls.sync, (green) => sequencesKnown(blue, green, ctx)),
    );
  expect(await known()).toEqual([]);
  await execute(pair.blue.urls.owner, 'ALTER TABLE user_settings ALTER id DROP IDENTITY');
  expect(await known()).toEqual(['blue "public"."user_settings".id has no sequence']);
  // An older table: a sequence that is only named in the default.
  await execute(
    pair.blue.urls.owner,
    `CREATE SEQUENCE old_ids START 50; ALTER TABLE user_settings ALTER id SET DEFAULT nextval('old_ids')`,
  );
  expect(await known()).toEqual([]);
  expect(await align()).toBe(49n);
  await execute(
    pair.blue.urls.superuser,
    `CREATE SEQUENCE strange; ALTER TABLE user_settings ALTER id SET DEFAULT nextval('strange')`,
  );
  expect((await known()).join()).toMatch(/strange cannot be set by the sync role/);
});

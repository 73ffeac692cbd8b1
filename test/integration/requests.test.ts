/** What comes through the functions of requests, whoever calls them. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { runContext } from '../support/run-context.ts';
import { rows } from '../support/sql.ts';

let pair: Pair;
let migration: string;

beforeAll(async () => {
  pair = await freshPair();
  const ctx = runContext(pair);
  migration = ctx.names.migration;
  await ensureControl(ctx);
});
afterAll(() => pair?.drop());

const ask = (options: string, by: string) =>
  rows<{ id: string | null }>(
    pair.green.urls.sync,
    `SELECT orchestrator.request_pause($1, $2::jsonb, $3::jsonb, 60, 'pending') AS id`,
    [migration, options, by],
  );

it('a request is an object: a runner takes up nothing else', async () => {
  for (const odd of ['null', '[]', '"pause"', '7']) {
    expect(await ask(odd, '{}')).toEqual([{ id: null }]);
    expect(await ask('{}', odd)).toEqual([{ id: null }]);
  }
  expect(await ask('{}', '{}')).toEqual([{ id: expect.any(String) }]);
});

/** The journal of a long migration: longer than one page of it. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { readJournal } from '../../orchestrator/state/journal.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { runContext, type TestContext } from '../support/run-context.ts';
import { execute, withClient } from '../support/sql.ts';

let pair: Pair;
let ctx: TestContext;

beforeAll(async () => {
  pair = await freshPair();
  ctx = runContext(pair, `t-${randomBytes(4).toString('hex')}`);
  await ensureControl(ctx);
});
afterAll(() => pair.drop());

it('is read whole and in the order in which it was written, page after page', async () => {
  const { migration } = ctx.names;
  await execute(
    pair.green.urls.superuser,
    `INSERT INTO orchestrator.journal (migration, epoch, generation, event, detail, by)
     SELECT '${migration}', 1, 0, 'noted', jsonb_build_object('n', n), '{}' FROM generate_series(1, 1250) AS n ORDER BY n`,
  );
  const read: bigint[] = [];
  await withClient(pair.green.urls.sync, async (client) => {
    for (let page = await readJournal(client, migration, '0'); page.length > 0; ) {
      read.push(...page.map((entry) => BigInt(entry.id)));
      page = await readJournal(client, migration, page.at(-1)?.id ?? '');
    }
  });
  expect(read.length).toBeGreaterThanOrEqual(1_250);
  expect(read).toEqual([...read].sort((a, b) => (a < b ? -1 : 1)));
});

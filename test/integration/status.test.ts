/** `status` beside a run that begins or ends: its control schemas come and go between any two statements. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SIDES } from '../../orchestrator/pg/side.ts';
import { connectBoth, dropControl, ensureControl } from '../../orchestrator/phases/control.ts';
import type { StatusDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { orchestrate } from '../support/in-process.ts';
import { runContext, type TestContext } from '../support/run-context.ts';

const ROUNDS = 5;

let pair: Pair;
let ctx: TestContext;
let clients: Awaited<ReturnType<typeof connectBoth>>;

beforeAll(async () => {
  pair = await freshPair();
  ctx = runContext(pair, 'user-settings-org');
  clients = await connectBoth(ctx, 'test');
});
afterAll(async () => {
  await Promise.all(SIDES.map((side) => clients?.[side].end()));
  await pair?.drop();
});

const status = () =>
  orchestrate(['status', '--json'], {
    ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
    ORCHESTRATE_GREEN_URL: pair.green.urls.sync,
  });

describe('control schemas that are not both there', () => {
  it("a run that died between green's and blue's, and a finalize after a revert: blue serves", async () => {
    await ensureControl(ctx);
    await dropControl(ctx, clients.blue, 'blue');
    const ended = await status();
    expect(ended.exit, ended.stderr).toBe(0);
    expect(ended.json<StatusDocument>()).toMatchObject({
      phase: 'created',
      serving: 'blue',
      standby: 'green',
    });
    await dropControl(ctx, clients.green, 'green');
  });

  it('that are made and dropped all the time: every look has an answer', async () => {
    let changing = true;
    const looks: string[] = [];
    const looking = [0, 1].map(async () => {
      while (changing) {
        const ended = await status();
        looks.push(ended.exit === 0 ? (ended.json<StatusDocument>().serving ?? 'none') : ended.stderr);
      }
    });
    for (let n = 0; n < ROUNDS; n++) {
      await ensureControl(ctx);
      for (const side of ['blue', 'green'] as const) await dropControl(ctx, clients[side], side);
    }
    changing = false;
    await Promise.all(looking);
    expect(looks.length).toBeGreaterThan(1);
    expect(looks.filter((serving) => serving !== 'blue')).toEqual([]);
  });
});

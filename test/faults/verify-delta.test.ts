/** The delta under writes: a key that is never at rest, and a delta that is made small before a freeze. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sweepPhase } from '../../orchestrator/phases/sweep.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { compareKeys } from '../../orchestrator/verify/compare-keys.ts';
import { shrinkDelta } from '../../orchestrator/verify/shrink.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type ForwardStream, forwardStream } from '../support/forward-stream.ts';
import { type GreenServing, greenServing } from '../support/green-serving.ts';
import { plantOn } from '../support/plant.ts';
import { execute, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const HOT = 7;
const TOUCHED = { from: 1_001, to: 1_900 };
/** Of them; others are parked. */
const MANY = 800;

/** One client that writes one row as fast as it is answered, until told to end. */
async function hotWriter(
  url: string,
  statement: string,
): Promise<{ written(): number; end(): Promise<void> }> {
  let written = 0;
  let ending = false;
  const work = withClient(url, async (client) => {
    while (!ending) {
      await client.query(statement, [HOT, `hot ${written}`]);
      written += 1;
    }
  });
  await until('the first write', () => written > 0);
  return {
    written: () => written,
    end: async () => {
      ending = true;
      await work;
    },
  };
}

describe.each(['blue', 'green'] as const)('while %s serves', (serving) => {
  const table = serving === 'blue' ? 'user_settings' : 'settings';
  const standby = serving === 'blue' ? 'settings' : 'user_settings';
  let pair: Pair;
  let stream: ForwardStream | GreenServing;
  let hot: Awaited<ReturnType<typeof hotWriter>>;

  beforeAll(async () => {
    pair = await freshPair();
    await loadUsers(pair.blue.urls.owner, { users: 3_000, seed: 6 });
    stream = serving === 'blue' ? await forwardStream(pair) : await greenServing(pair);
    hot = await hotWriter(pair[serving].urls.app, `UPDATE ${table} SET llm_model = $2 WHERE id = $1`);
  });
  afterAll(async () => {
    await hot?.end();
    await stream?.stop();
    await pair.drop();
  });

  const keys = (): ReadonlySet<number> => {
    const found = stream.applier.delta.keys();
    if (found === 'lost') throw new Error('the delta is lost');
    return found;
  };
  const touch = async (token: string): Promise<void> => {
    await execute(
      pair[serving].urls.app,
      `UPDATE ${table} SET llm_model = '${token}' WHERE id BETWEEN ${TOUCHED.from} AND ${TOUCHED.to}`,
    );
    await until('the delta to know them', () => keys().has(TOUCHED.from) && keys().has(TOUCHED.to));
  };

  it('a key that is written faster than pictures are taken is no difference, and stays in the delta', async () => {
    for (let n = 0; n < 3; n++) {
      const before = hot.written();
      const document = await sweepPhase(stream.ctx, { serving, applier: stream.applier, chunkRows: 700 });
      expect(document.mismatches).toEqual([]);
      expect(document.clean).toBe(true);
      expect(hot.written()).toBeGreaterThan(before);
    }
    await until('the delta to have it', () => keys().has(HOT));
  });

  it('a difference among the touched keys leaves the delta as it is', async () => {
    await touch('planted upon');
    await until('them to be applied', () => keys().size > MANY);
    await plantOn(
      pair,
      serving === 'blue' ? 'green' : 'blue',
      `UPDATE ${standby} SET language = 'xx' WHERE id = 1500`,
    );
    await shrinkDelta(stream.ctx, serving, stream.applier);
    expect(keys().size).toBeGreaterThan(MANY);
    await plantOn(
      pair,
      serving === 'blue' ? 'green' : 'blue',
      `UPDATE ${standby} SET language = NULL WHERE id = 1500`,
    );
    await execute(pair[serving].urls.app, `UPDATE ${table} SET language = NULL WHERE id = 1500`);
  });

  it('is made small while writes go on, and what is left is all that the freeze has to compare', async () => {
    await touch('shrunk');
    expect(keys().size).toBeGreaterThan(MANY);
    await shrinkDelta(stream.ctx, serving, stream.applier);
    expect(keys().size).toBeLessThan(100);
    // One that is touched after it counts again.
    await execute(pair[serving].urls.app, `UPDATE ${table} SET llm_model = 'later' WHERE id = 1200`);
    await until('the delta to know it', () => keys().has(1_200));
    await until('the hot key to be known', () => keys().has(HOT));
    await hot.end();
    await stream.drained();
    const all = [...keys()];
    const differing = await withClient(pair.blue.urls.sync, (blue) =>
      withClient(pair.green.urls.sync, (green) => compareKeys(stream.ctx, { blue, green }, all, serving)),
    );
    expect(differing).toEqual([]);
  });
});

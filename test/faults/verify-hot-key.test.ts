/** A key that is never at rest: no sweep calls it a difference, and the freeze compares it again. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sweepPhase } from '../../orchestrator/phases/sweep.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type ForwardStream, forwardStream } from '../support/forward-stream.ts';
import { type GreenServing, greenServing } from '../support/green-serving.ts';
import { withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const HOT = 7;

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
});

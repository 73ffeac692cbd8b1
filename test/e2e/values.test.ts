import { afterEach, describe, expect, it } from 'vitest';
import { loadValueZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import type { HandoverDocument, VerifyDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { journey, type Running } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';

/** 100 MB where memory and time are not scarce: `ORCHESTRATE_TEST_LONGEST=104857600`. */
const LONGEST_BYTES = Number(process.env['ORCHESTRATE_TEST_LONGEST'] ?? 1024 * 1024);

const DIGEST = `
  SELECT id, md5(t::text) AS digest
  FROM (SELECT * FROM public.user_settings) AS t
  ORDER BY id`;

describe('the value zoo, there and back', () => {
  let pair: Pair;
  let running: Running | undefined;

  afterEach(async () => {
    running?.kill('SIGKILL');
    await running?.ended;
    await pair.drop();
  });

  it('every value is text-identical on blue before and after copy, sync, cutover and revert', async () => {
    pair = await freshPair();
    const zoo = await withClient(pair.blue.urls.owner, (client) =>
      loadValueZoo(client, { longestBytes: LONGEST_BYTES }),
    );
    expect(zoo).toBeGreaterThanOrEqual(1_000);
    const read = () => rows<{ id: number; digest: string }>(pair.blue.urls.superuser, DIGEST);
    const before = await read();
    expect(before.length).toBe(zoo);
    const j = journey(pair);
    running = j.run();
    await j.ready(running);
    const clean = async () => {
      const verify = await j.command('verify', '--json');
      expect(verify.json<VerifyDocument>(), verify.stderr).toMatchObject({ clean: true, mismatches: [] });
    };
    await clean();

    // Through the stream: every row is written again, with its long values unchanged, and then from scratch.
    await execute(
      pair.blue.urls.app,
      'UPDATE user_settings SET enable_default_condenser = NOT enable_default_condenser',
    );
    await execute(
      pair.blue.urls.app,
      'UPDATE user_settings SET enable_default_condenser = NOT enable_default_condenser',
    );
    await execute(
      pair.blue.urls.superuser,
      `CREATE TABLE public.aside AS SELECT * FROM public.user_settings WHERE id % 3 = 0;
       DELETE FROM public.user_settings WHERE id % 3 = 0;
       INSERT INTO public.user_settings (${await columns(pair)}) SELECT ${await columns(pair)} FROM public.aside;
       DROP TABLE public.aside`,
    );
    await clean();
    expect(await read()).toEqual(before);

    const cutover = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
    expect(cutover.json<HandoverDocument>(), cutover.stderr).toMatchObject({
      outcome: 'done',
      serving: 'green',
    });
    // Every row goes back as a whole.
    await execute(
      pair.green.urls.app,
      'UPDATE settings SET language = language; UPDATE "user" SET role_id = role_id',
    );
    await clean();
    const revert = await j.command('revert', '--yes', '--json', '--accept-parked', 'all');
    expect(revert.json<HandoverDocument>(), revert.stderr).toMatchObject({
      outcome: 'done',
      serving: 'blue',
    });
    await clean();
    expect(await read()).toEqual(before);
  }, 300_000);
});

async function columns(pair: Pair): Promise<string> {
  const found = await rows<{ names: string }>(
    pair.blue.urls.superuser,
    `SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS names
     FROM pg_attribute WHERE attrelid = 'public.user_settings'::regclass AND attnum > 0 AND NOT attisdropped`,
  );
  return found[0]?.names ?? '';
}

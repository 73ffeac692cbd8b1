import { afterEach, describe, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type {
  EndDocument,
  HandoverDocument,
  PreflightDocument,
  StatusDocument,
  VerifyDocument,
} from '../../orchestrator/state/documents.ts';
import { catalogOf } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { journey, type Running } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';

/** Rows of blue that green does not hold text for text, and the other way round: plain SQL, by hand. */
async function differences(pair: Pair): Promise<number> {
  const text = (sql: string) =>
    `SELECT md5(string_agg(r, E'\\n' ORDER BY id)) AS digest, count(*)::int AS n FROM (${sql}) AS t(id, r)`;
  const blue = await rows<{ digest: string; n: number }>(
    pair.blue.urls.superuser,
    text(`SELECT id, concat_ws('|', id, coalesce(keycloak_user_id, '~'), coalesce(language, '~'), coalesce(llm_api_key, '~'),
                 coalesce(mcp_config::text, '~'), user_version, coalesce(accepted_tos::text, '~'), coalesce(billing_margin::text, '~'))
          FROM user_settings`),
  );
  const green = await rows<{ digest: string; n: number }>(
    pair.green.urls.superuser,
    text(`SELECT u.id, concat_ws('|', u.id, u.keycloak_user_id, coalesce(s.language, '~'), coalesce(s.llm_api_key, '~'),
                 coalesce(s.mcp_config::text, '~'), s.settings_version, coalesce(u.accepted_tos::text, '~'), coalesce(s.billing_margin::text, '~'))
          FROM "user" u JOIN settings s ON s.id = u.id
          UNION ALL
          SELECT id, concat_ws('|', id, coalesce(keycloak_user_id, '~'), coalesce(language, '~'), coalesce(llm_api_key, '~'),
                 coalesce(mcp_config::text, '~'), user_version, coalesce(accepted_tos::text, '~'), coalesce(billing_margin::text, '~'))
          FROM orchestrator.parked`),
  );
  expect(blue[0]?.n).toBeGreaterThan(0);
  return blue[0]?.digest === green[0]?.digest && blue[0]?.n === green[0]?.n ? 0 : 1;
}

/** Every object of a database as a line. */
async function readCatalog(url: string): Promise<string[]> {
  return Object.entries(await catalogOf(url)).flatMap(([part, objects]) =>
    objects.map((o) => `${part} ${JSON.stringify(o)}`),
  );
}

describe('the whole journey, from the shell', () => {
  let pair: Pair;
  let running: Running | undefined;

  afterEach(async () => {
    running?.kill('SIGKILL');
    await running?.ended;
    running = undefined;
    await pair?.drop();
  });

  it('preflight, run, status, verify, cutover, revert, cutover, finalize', async () => {
    pair = await freshPair();
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 3_000, seed: 'journey' }));
    const before = {
      blue: await readCatalog(pair.blue.urls.superuser),
      green: await readCatalog(pair.green.urls.superuser),
    };
    const j = journey(pair);

    const preflight = await j.command('preflight', '--json');
    expect(preflight.json<PreflightDocument>()).toMatchObject({ ok: true });
    expect(preflight.exit).toBe(0);

    const created = await j.command('status', '--json');
    expect(created.exit).toBe(0);
    expect(created.json<StatusDocument>()).toMatchObject({
      phase: 'created',
      serving: 'blue',
      unreachable: [],
    });

    running = j.run();
    const ready = await j.ready(running);
    expect(ready).toMatchObject({
      phase: 'syncing',
      generation: 0,
      serving: 'blue',
      standby: 'green',
      direction: 'forward',
    });

    await execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'tlh' WHERE id % 10 = 0`);
    const verify = await j.command('verify', '--json');
    expect(verify.json<VerifyDocument>()).toMatchObject({ clean: true, mismatches: [] });
    expect(verify.exit).toBe(0);
    expect(await differences(pair)).toBe(0);

    const refused = await j.command('cutover', '--yes', '--json');
    expect(refused.exit).toBe(3);
    expect(refused.json<HandoverDocument>()).toMatchObject({ outcome: 'no-go', serving: 'blue' });

    const dry = await j.command('cutover', '--dry-run', '--json', '--accept-parked', 'all');
    expect(dry.json<HandoverDocument>()).toMatchObject({ outcome: 'dry-run', serving: 'blue' });
    expect(dry.exit).toBe(0);

    const rehearsed = await j.command('cutover', '--rehearse', '--yes', '--json', '--accept-parked', 'all');
    expect(rehearsed.json<HandoverDocument>()).toMatchObject({ outcome: 'rehearsed', serving: 'blue' });
    expect(rehearsed.exit).toBe(0);
    await execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'xx' WHERE id % 10 = 1`);

    const steps = [
      'gates',
      'pause',
      'freeze',
      'drain',
      'verify',
      'stop',
      'arm',
      'decide',
      'open',
      'switch',
      'reverse',
    ];
    for (const [kind, serving] of [
      ['cutover', 'green'],
      ['revert', 'blue'],
      ['cutover', 'green'],
    ] as const) {
      const done = await j.command(kind, '--yes', '--json', '--accept-parked', 'all');
      expect(done.json<HandoverDocument>(), done.stderr).toMatchObject({
        outcome: 'done',
        serving,
        budget_seconds: 10,
      });
      expect(done.exit).toBe(0);
      expect(done.json<HandoverDocument>().steps.map((s) => s.step)).toEqual(steps);
      expect(done.json<HandoverDocument>().steps.every((s) => s.ok)).toBe(true);
      expect(done.json<HandoverDocument>().certificate).not.toBeNull();
      const old = serving === 'green' ? pair.blue : pair.green;
      const table = serving === 'green' ? 'user_settings' : 'settings';
      await expect(execute(old.urls.app, `UPDATE ${table} SET language = 'no'`)).rejects.toMatchObject({
        code: '25006',
      });
      await execute(
        serving === 'green' ? pair.green.urls.app : pair.blue.urls.app,
        serving === 'green'
          ? `UPDATE settings SET language = 'on-green' WHERE id % 10 = 2`
          : `UPDATE user_settings SET language = 'on-blue' WHERE id % 10 = 3`,
      );
      const after = await j.command('verify', '--json');
      expect(after.json<VerifyDocument>(), after.stderr).toMatchObject({ clean: true });
      expect(await differences(pair)).toBe(0);
    }

    const finalized = await j.command('finalize', '--yes', '--json');
    expect(finalized.json<EndDocument>(), finalized.stderr).toMatchObject({
      outcome: 'done',
      phase: 'finalized',
      serving: 'green',
    });
    expect(finalized.exit).toBe(0);
    expect((await running.ended).exit).toBe(0);
    running = undefined;

    const slots = await rows(
      pair.blue.urls.superuser,
      'SELECT slot_name FROM pg_replication_slots WHERE database = current_database()',
    );
    expect(slots).toEqual([]);
    const blueAfter = await readCatalog(pair.blue.urls.superuser);
    const fence = blueAfter.filter((line) => !before.blue.includes(line));
    expect(fence.every((line) => line.includes('orchestrate_fence'))).toBe(true);
    expect(before.blue.filter((line) => !blueAfter.includes(line))).toEqual([]);
    await expect(
      execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'no'`),
    ).rejects.toMatchObject({ code: '25006' });
    const greenAfter = await readCatalog(pair.green.urls.superuser);
    expect(greenAfter.filter((line) => line.includes('orchestrator.'))).toEqual([]);
    const ended = await j.command('status', '--json');
    expect(ended.json<StatusDocument>()).toMatchObject({ phase: 'finalized', serving: 'green' });
  });

  it('finalize --release-blue leaves nothing at all on blue', async () => {
    pair = await freshPair();
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 300, seed: 'release' }));
    const before = await readCatalog(pair.blue.urls.superuser);
    const j = journey(pair);
    running = j.run();
    await j.ready(running);
    const done = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
    expect(done.json<HandoverDocument>(), done.stderr).toMatchObject({ outcome: 'done', serving: 'green' });
    const finalized = await j.command('finalize', '--yes', '--json', '--release-blue');
    expect(finalized.json<EndDocument>(), finalized.stderr).toMatchObject({
      outcome: 'done',
      phase: 'finalized',
    });
    expect((await running.ended).exit).toBe(0);
    expect(await readCatalog(pair.blue.urls.superuser)).toEqual(before);
    const green = await readCatalog(pair.green.urls.superuser);
    expect(green.filter((line) => /orchestrator\.|orchestrate_(?!migrations|sync)/.test(line))).toEqual([]);
  });

  it('abort straight after the copy leaves both catalogs as they were', async () => {
    pair = await freshPair();
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 500, seed: 'abort' }));
    const before = {
      blue: await readCatalog(pair.blue.urls.superuser),
      green: await readCatalog(pair.green.urls.superuser),
    };
    const j = journey(pair);
    running = j.run();
    await j.ready(running);
    const aborted = await j.command('abort', '--yes', '--json');
    expect(aborted.json<EndDocument>(), aborted.stderr).toMatchObject({ outcome: 'done', serving: 'blue' });
    expect(aborted.exit).toBe(0);
    expect((await running.ended).exit).toBe(0);
    expect(await readCatalog(pair.blue.urls.superuser)).toEqual(before.blue);
    expect(await readCatalog(pair.green.urls.superuser)).toEqual(before.green);
    await execute(pair.blue.urls.app, `UPDATE user_settings SET language = 'still-here'`);
  });
});

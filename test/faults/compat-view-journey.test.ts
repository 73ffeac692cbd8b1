/** `run --compat-view`: the old application's statements cross a cutover and a revert, and the view goes or stays. */
import { afterEach, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { EndDocument, HandoverDocument, VerifyDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { journey, type Running } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
let running: Running | undefined;
afterEach(async () => {
  running?.kill('SIGKILL');
  await running?.ended;
  running = undefined;
  await pair?.drop();
});

const VIEW = `SELECT relkind FROM pg_class WHERE oid = to_regclass('public.user_settings')`;
/** The application's own statements on whichever side; SQLSTATE where it was refused. */
const write = (side: 'blue' | 'green', key: string): Promise<string> =>
  withClient(pair[side].urls.app, async (client) => {
    try {
      const found = await client.query('SELECT * FROM user_settings WHERE keycloak_user_id = $1 LIMIT 1', [
        key,
      ]);
      if (found.rowCount === 0)
        await client.query('INSERT INTO user_settings (keycloak_user_id) VALUES ($1) RETURNING id', [key]);
      const { rowCount } = await client.query(
        `UPDATE user_settings SET language = 'xx', user_version = user_version + 1 WHERE keycloak_user_id = $1`,
        [key],
      );
      return `${rowCount} changed`;
    } catch (error) {
      return (error as { code?: string }).code ?? String(error);
    }
  });

it.each([false, true])('keep-compat-view %s', async (keep) => {
  pair = await freshPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 300, seed: 'compat' }));
  const j = journey(pair);
  running = j.run({}, '--compat-view');
  await j.ready(running);
  expect(await rows(pair.green.urls.superuser, VIEW)).toEqual([{ relkind: 'v' }]);
  expect(await write('blue', 'on-blue')).toBe('1 changed');
  // Green's fence stands behind the view.
  expect(await write('green', 'on-blue-too-early')).toBe('25006');

  const over = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
  expect([over.exit, over.json<HandoverDocument>().outcome]).toEqual([0, 'done']);
  expect(await write('green', 'on-blue')).toBe('1 changed');
  expect(await write('green', 'on-green')).toBe('1 changed');
  expect(await write('blue', 'on-blue')).toBe('25006');

  const back = await j.command('revert', '--yes', '--json');
  expect([back.exit, back.json<HandoverDocument>().outcome]).toEqual([0, 'done']);
  const both = `SELECT keycloak_user_id AS key, language, user_version AS version FROM user_settings
                WHERE keycloak_user_id LIKE 'on-%' ORDER BY 1`;
  expect(await rows(pair.blue.urls.app, both)).toEqual([
    { key: 'on-blue', language: 'xx', version: 2 },
    { key: 'on-green', language: 'xx', version: 1 },
  ]);
  expect(await write('blue', 'on-green')).toBe('1 changed');
  const verified = await j.command('verify', '--json');
  expect(verified.json<VerifyDocument>()).toMatchObject({ clean: true });

  const again = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
  expect(again.exit).toBe(0);
  const text = `SELECT md5(string_agg(v::text, '' ORDER BY id)) AS digest, count(*)::integer AS n FROM user_settings AS v`;
  const before = await rows(pair.green.urls.app, text);
  const ended = await j.command('finalize', '--yes', '--json', ...(keep ? ['--keep-compat-view'] : []));
  expect([ended.exit, ended.json<EndDocument>().outcome]).toEqual([0, 'done']);
  await until('the runner to end', () => running?.process.exitCode === 0);
  expect(await rows(pair.green.urls.superuser, VIEW)).toEqual(keep ? [{ relkind: 'v' }] : []);
  expect(
    await rows(
      pair.green.urls.superuser,
      `SELECT 'there' AS it FROM pg_proc WHERE proname = 'orchestrate_user_settings'`,
    ),
  ).toEqual(keep ? [{ it: 'there' }] : []);
  expect(await rows(pair.green.urls.app, text).catch(() => 'gone')).toEqual(keep ? before : 'gone');
  expect(await write('green', 'after-all')).toBe(keep ? '1 changed' : '42P01');
});

it('abort takes it away; a view of somebody else is neither replaced nor dropped', async () => {
  pair = await freshPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 100, seed: 'compat' }));
  const j = journey(pair);
  running = j.run({}, '--compat-view');
  await j.ready(running);
  const ended = await j.command('abort', '--yes', '--json');
  expect([ended.exit, ended.json<EndDocument>().outcome]).toEqual([0, 'done']);
  expect(await rows(pair.green.urls.superuser, VIEW)).toEqual([]);
  await running.ended;

  await execute(pair.green.urls.owner, 'CREATE VIEW user_settings AS SELECT 1 AS theirs');
  running = j.run({}, '--compat-view');
  const stopped = await running.ended;
  expect(stopped.exit).not.toBe(0);
  expect(stopped.stderr).toMatch(/user_settings/);
  const aborted = await j.command('abort', '--yes', '--json');
  expect(aborted.exit).toBe(0);
  expect(await rows(pair.green.urls.app, 'SELECT * FROM user_settings').catch(() => 'no rights')).not.toEqual(
    [],
  );
  expect(await rows(pair.green.urls.superuser, VIEW)).toEqual([{ relkind: 'v' }]);
});

/** The view `user_settings` over the org model: the old application's statements, one by one, on the table and on it. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { relationsOf } from '../../orchestrator/state/names.ts';
import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';
import { COMPAT_FUNCTION, createCompatView, dropCompatView } from '../../src/mapping/compat-view.ts';
import { catalogOf } from '../support/catalog.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { fill055 } from '../support/in-place.ts';
import { orchestrate } from '../support/in-process.ts';
import { execute, rows } from '../support/sql.ts';
import { until } from '../support/until.ts';

let pair: Pair;
/** The application, once on the table and once on the view, by its search_path alone. */
let onTable: pg.Client;
let onView: pg.Client;
const relations = relationsOf({ source: 'public', org: 'public' });

beforeAll(async () => {
  pair = await freshPair();
  await fill055(pair, 400);
  const up = await orchestrate(['migrate', 'up', '--side', 'blue'], {
    ORCHESTRATE_BLUE_URL: pair.blue.urls.sync,
  });
  if (up.exit !== 0) throw new Error(up.stderr);
  await execute(pair.blue.urls.superuser, `CREATE SCHEMA compat AUTHORIZATION "${pair.blue.roles.owner}"`);
  await execute(
    pair.blue.urls.owner,
    [...createCompatView(relations, 'compat', 'name'), ''].join(';') +
      `GRANT USAGE ON SCHEMA compat TO "${pair.blue.roles.app}";
       GRANT SELECT, INSERT, UPDATE, DELETE ON compat.user_settings TO "${pair.blue.roles.app}"`,
  );
  [onTable, onView] = (await Promise.all(['public', 'compat'].map(session))) as [pg.Client, pg.Client];
});
afterAll(async () => {
  await Promise.all([onTable.end(), onView.end()]);
  await pair.drop();
});

async function session(schema: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: pair.blue.urls.app,
    options: `-c search_path=${schema} -c extra_float_digits=3`,
    // Text as the server printed it.
    types: { getTypeParser: () => (text: string | Buffer) => text.toString() },
  });
  await client.connect();
  return client;
}

const ALL = SOURCE_COLUMNS.map((c) => `"${c.name}"`).join(', ');
/** Rows with an image: the lowest id of each key. */
const MAPPED = `SELECT DISTINCT ON (keycloak_user_id) ${ALL} FROM public.user_settings WHERE keycloak_user_id <> '' ORDER BY keycloak_user_id, id`;

const outcome = async (client: pg.Client, sql: string, values: readonly (string | null)[] = []) =>
  client.query(sql, [...values]).then(
    (r) => ({ command: r.command, count: r.rowCount, rows: r.rows as object[] }),
    (error: { code?: string }) => ({ error: error.code }),
  );
const both = async (sql: string, values: readonly (string | null)[] = []) => {
  const [table, view] = [await outcome(onTable, sql, values), await outcome(onView, sql, values)];
  expect([sql, view]).toEqual([sql, table]);
  return view as { count: number; rows: Record<string, string>[]; error?: string };
};
const sameRows = async () => {
  const [found] = await rows<{ missing: number; extra: number; n: number }>(
    pair.blue.urls.superuser,
    `WITH t AS (SELECT ROW(w.*)::text AS line FROM (${MAPPED}) AS w),
          v AS (SELECT ROW(${ALL})::text AS line FROM compat.user_settings)
     SELECT (SELECT count(*)::integer FROM t WHERE line NOT IN (SELECT line FROM v)) AS missing,
            (SELECT count(*)::integer FROM v WHERE line NOT IN (SELECT line FROM t)) AS extra,
            (SELECT count(*)::integer FROM v) AS n`,
  );
  return found;
};

it('shows every mapped row of the zoo, text for text', async () => {
  const found = await sameRows();
  expect(found).toMatchObject({ missing: 0, extra: 0 });
  expect(found?.n).toBeGreaterThan(500);
});

describe('the statements of the application give the same on both', () => {
  const READ = 'SELECT * FROM user_settings WHERE keycloak_user_id = $1 LIMIT 1';
  /** Column order is nobody's promise. */
  const READ_ALL = READ.replace('*', ALL);

  it('reads by key, of somebody and of nobody', async () => {
    const [one] = await rows<{ keycloak_user_id: string }>(
      pair.blue.urls.owner,
      'SELECT keycloak_user_id FROM user_settings WHERE id = 1000',
    );
    expect((await both(READ_ALL, [one?.keycloak_user_id ?? ''])).count).toBe(1);
    expect((await both(READ_ALL, ['nobody'])).count).toBe(0);
    expect((await onView.query(READ, [one?.keycloak_user_id])).rows).toHaveLength(1);
  });

  it('checks, then inserts; the new row has the next id and the defaults', async () => {
    await both(READ_ALL, ['new-1']);
    const inserted = await both(
      `INSERT INTO user_settings (keycloak_user_id, language, mcp_config, accepted_tos) VALUES ($1, 'ja', $2, $3) RETURNING id`,
      ['new-1', '{"b": 1,  "a": "\\u0000", "a": 2}', '2025-01-02 03:04:05.678901'],
    );
    expect(inserted.count).toBe(1);
    expect((await both(READ_ALL, ['new-1'])).rows[0]).toMatchObject({
      enable_default_condenser: 't',
      user_version: '0',
      mcp_config: '{"b": 1,  "a": "\\u0000", "a": 2}',
    });
    await both(`INSERT INTO user_settings (keycloak_user_id) VALUES ('new-2'), ('new-3') RETURNING id`);
    expect(await sameRows()).toMatchObject({ missing: 0, extra: 0 });
  });

  it.each([
    [
      'save',
      'llm_api_key = $2, language = $3, enable_sound_notifications = $4',
      ['k'.repeat(416), null, 'true'],
    ],
    ['version upgrade', 'llm_model = $2, llm_base_url = $3, user_version = $4', ['m ', '', '4']],
    ['terms accepted', 'accepted_tos = $2', ['infinity']],
    ['mcp_config', 'mcp_config = $2', ['null']],
    ['numbers', 'billing_margin = $2, max_budget_per_task = $3', ['NaN', '-0']],
    ['minus zero to zero', 'billing_margin = $2, max_budget_per_task = $3', ['-0', '0']],
    ['nothing new', 'language = language, user_version = $2', ['4']],
    ['key change', 'keycloak_user_id = $2', ['another-key']],
  ])('%s', async (_name, set, values) => {
    expect((await both(`UPDATE user_settings SET ${set} WHERE id = $1`, ['1001', ...values])).count).toBe(1);
    expect(await sameRows()).toMatchObject({ missing: 0, extra: 0 });
  });

  it('an id that is not there, NULL where it must not be, a value of no such type', async () => {
    expect((await both('UPDATE user_settings SET language = $2 WHERE id = $1', ['999999', 'en'])).count).toBe(
      0,
    );
    expect((await both('DELETE FROM user_settings WHERE id = $1', ['999999'])).count).toBe(0);
    expect((await both('UPDATE user_settings SET user_version = NULL WHERE id = 1001')).error).toBe('23502');
    expect(
      (
        await both(
          `INSERT INTO user_settings (keycloak_user_id, enable_default_condenser) VALUES ('x', NULL)`,
        )
      ).error,
    ).toBe('23502');
    expect((await both(`UPDATE user_settings SET mcp_config = $1 WHERE id = 1001`, ['{'])).error).toBe(
      '22P02',
    );
  });

  it('updates everyone, and deletes', async () => {
    const table = await outcome(onTable, `UPDATE user_settings SET sandbox_base_container_image = $1`, ['i']);
    const view = await outcome(onView, `UPDATE user_settings SET sandbox_base_container_image = $1`, ['i']);
    const [mapped] = await rows<{ n: number; m: number }>(
      pair.blue.urls.owner,
      `SELECT count(*)::integer AS n, (SELECT count(DISTINCT nullif(keycloak_user_id, ''))::integer FROM user_settings) AS m FROM user_settings`,
    );
    expect([table, view]).toMatchObject([{ count: mapped?.n }, { count: mapped?.m }]);
    expect((await both('DELETE FROM user_settings WHERE id = $1', ['1002'])).count).toBe(1);
    expect(await sameRows()).toMatchObject({ missing: 0, extra: 0 });
    expect(
      await rows(
        pair.blue.urls.owner,
        'SELECT FROM org WHERE id = 1002 UNION ALL SELECT FROM settings WHERE id = 1002',
      ),
    ).toHaveLength(0);
  });
});

it.each([
  [`INSERT INTO user_settings (language) VALUES ('en')`, '23502'],
  [`INSERT INTO user_settings (keycloak_user_id) VALUES (NULL)`, '23502'],
  [`INSERT INTO user_settings (keycloak_user_id) VALUES ('')`, '23514'],
  [`INSERT INTO user_settings (keycloak_user_id) VALUES ('another-key')`, '23505'],
  [`UPDATE user_settings SET keycloak_user_id = NULL WHERE id = 1003`, '23502'],
  [`UPDATE user_settings SET keycloak_user_id = '' WHERE id = 1003`, '23514'],
  [`UPDATE user_settings SET keycloak_user_id = 'another-key' WHERE id = 1003`, '23505'],
  [`UPDATE user_settings SET id = 900 WHERE id = 1003`, '0A000'],
])('refuses what the org model cannot hold, and nothing else: %s', async (sql, code) => {
  expect(await outcome(onView, sql)).toEqual({ error: code });
  await onTable.query('BEGIN');
  expect(await outcome(onTable, sql)).not.toHaveProperty('error');
  await onTable.query('ROLLBACK');
});

it('the zoo goes in through the view and comes out, text for text; and over one row', async () => {
  await execute(
    pair.blue.urls.superuser,
    `CREATE TABLE zoo AS SELECT * FROM user_settings WHERE id < 1000 AND id > 0;
     UPDATE zoo SET keycloak_user_id = 'zoo-' || id, id = id + 500000;
     INSERT INTO compat.user_settings (${ALL}) SELECT ${ALL} FROM zoo`,
  );
  const compare = async (from: string) =>
    rows<{ n: number; same: number }>(
      pair.blue.urls.superuser,
      `SELECT count(*)::integer AS n, count(v.line)::integer AS same
       FROM (SELECT ROW(${ALL})::text AS line FROM ${from}) AS z
       LEFT JOIN (SELECT ROW(${ALL})::text AS line FROM compat.user_settings) AS v ON v.line = z.line`,
    );
  const [inserted] = await compare('zoo');
  expect(inserted?.n).toBeGreaterThan(250);
  expect(inserted?.same).toBe(inserted?.n);
  const set = SOURCE_COLUMNS.filter((c) => c.name !== 'id').map((c) => `"${c.name}" = z."${c.name}"`);
  await execute(
    pair.blue.urls.superuser,
    `CREATE TABLE turned AS TABLE zoo WITH NO DATA;
     INSERT INTO turned (${ALL}) SELECT ${ALL.replace('"id"', 'lead(id, 1, (SELECT min(id) FROM zoo)) OVER (ORDER BY id)').replace('"keycloak_user_id"', `'turned-' || id`)} FROM zoo;
     UPDATE compat.user_settings AS v SET ${set.join(', ')} FROM turned AS z WHERE z.id = v.id`,
  );
  const [updated] = await compare('turned');
  expect(updated?.same).toBe(updated?.n);
  expect(updated?.n).toBe(inserted?.n);
});

it('two who change other columns of one row at once lose nothing', async () => {
  const other = await session('compat');
  try {
    await onView.query('BEGIN');
    await onView.query(`UPDATE user_settings SET language = 'xx' WHERE id = 1004`);
    const waiting = other.query(`UPDATE user_settings SET agent = 'yy', language = language WHERE id = 1004`);
    await until('the second to wait for the first', async () => {
      const [found] = await rows<{ waits: boolean }>(
        pair.blue.urls.superuser,
        `SELECT EXISTS (SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock') AS waits`,
      );
      return found?.waits === true;
    });
    await onView.query('COMMIT');
    await waiting;
    const { rows: found } = await onView.query('SELECT language, agent FROM user_settings WHERE id = 1004');
    expect(found).toEqual([{ language: 'xx', agent: 'yy' }]);
  } finally {
    await other.end();
  }
});

it('a new number is one that none of the three tables will use again', async () => {
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO org (name) SELECT 'o' || i FROM generate_series(1, 50) AS i`,
  );
  const { rows: made } = await onView.query(
    `INSERT INTO user_settings (keycloak_user_id) VALUES ('after-orgs') RETURNING id`,
  );
  const id = Number((made[0] as { id: string }).id);
  const [next] = await rows<{ org: number; settings: number; user: number }>(
    pair.blue.urls.superuser,
    `SELECT nextval('org_id_seq')::integer AS org, nextval('settings_id_seq')::integer AS settings, nextval('user_id_seq')::integer AS user`,
  );
  expect(Math.min(next?.org ?? 0, next?.settings ?? 0, next?.user ?? 0)).toBeGreaterThan(id);
});

it('goes without a trace, and a table of that name stays', async () => {
  await execute(pair.blue.urls.owner, dropCompatView('compat'));
  await execute(pair.blue.urls.owner, dropCompatView('compat'));
  const catalog = await catalogOf(pair.blue.urls.superuser);
  expect(JSON.stringify(catalog)).not.toContain(COMPAT_FUNCTION);
  await execute(pair.blue.urls.owner, dropCompatView('public'));
  expect(await rows(pair.blue.urls.owner, 'SELECT FROM user_settings LIMIT 1')).toHaveLength(1);
});

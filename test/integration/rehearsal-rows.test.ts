import { text } from 'node:stream/consumers';
import { to as copyTo } from 'pg-copy-streams';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openTextSession } from '../../orchestrator/rehearsal/connection.ts';
import { copyLine } from '../../orchestrator/rehearsal/generator/copy-line.ts';
import { loadUsers, makeUsers } from '../../orchestrator/rehearsal/generator.ts';
import { SOURCE_COLUMN_NAMES } from '../../orchestrator/rehearsal/source-columns.ts';
import { loadValueZoo, makeZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { execute, rows } from '../support/sql.ts';

let pair: Pair;
const url = (): string => pair.blue.urls.owner;

beforeAll(async () => {
  pair = await freshPair();
});
afterAll(() => pair.drop());
beforeEach(() => execute(url(), 'TRUNCATE user_settings RESTART IDENTITY'));

/** The table as COPY prints it, in id order. */
async function printed(): Promise<string> {
  const client = await openTextSession(url(), 'test', 'public');
  try {
    const columns = SOURCE_COLUMN_NAMES.join(', ');
    return await text(
      client.query(copyTo(`COPY (SELECT ${columns} FROM user_settings ORDER BY id) TO STDOUT`)),
    );
  } finally {
    await client.end();
  }
}

/** Compares line by line, so that a failure names one line and not a megabyte. */
function expectSameLines(found: string, made: string): void {
  const [left, right] = [found.split('\n'), made.split('\n')];
  const at = left.findIndex((line, n) => line !== right[n]);
  expect(left[at]?.slice(0, 400)).toBe(right[at]?.slice(0, 400));
  expect(at).toBe(-1);
  expect(left.length).toBe(right.length);
}

async function share(condition: string): Promise<number> {
  const [row] = await rows<{ share: number }>(
    url(),
    `SELECT avg((${condition})::integer)::float8 AS share FROM user_settings`,
  );
  return row?.share ?? Number.NaN;
}

describe('real-looking users', () => {
  it('arrive byte for byte as they were made, the same ones for the same seed', async () => {
    const loaded = await loadUsers(url(), { users: 3_000, seed: 7 });
    expect(loaded.rows).toBe(3_000);
    expectSameLines(await printed(), [...makeUsers({ users: 3_000, seed: 7 })].map(copyLine).join(''));
    expect([...makeUsers({ users: 50, seed: 8 })]).not.toEqual([...makeUsers({ users: 50, seed: 7 })]);
  });

  it('leave the identity above the highest id', async () => {
    const { lastId } = await loadUsers(url(), { users: 500, seed: 1, firstId: 1_000 });
    expect(lastId).toBeGreaterThan(1_499);
    const [row] = await rows<{ id: number }>(
      url(),
      'INSERT INTO user_settings (language) VALUES (NULL) RETURNING id',
    );
    expect(row?.id).toBe(lastId + 1);
  });

  it('have the shares that were measured, 23,000 of them in a few seconds', async () => {
    const { seconds, rows: loaded } = await loadUsers(url(), { users: 23_000, seed: 1 });
    expect(loaded).toBe(23_000);
    expect(seconds).toBeLessThan(15);
    const expected: [string, number, number][] = [
      ['keycloak_user_id IS NULL', 0.003, 0.002],
      ["coalesce(keycloak_user_id = '', false)", 0.0005, 0.0005],
      ["coalesce(keycloak_user_id ~ '[A-F]', false)", 0.001, 0.0008],
      ["coalesce(keycloak_user_id ~ '^[0-9]+$', false)", 0.001, 0.0008],
      ['language IS NULL', 0.12, 0.01],
      ["coalesce(language = 'en', false)", 0.77, 0.02],
      ['llm_api_key IS NULL', 0.12, 0.01],
      ['coalesce(length(llm_api_key) = 160, false)', 0.8, 0.02],
      ['coalesce(length(llm_api_key) = 4284, false)', 0.004, 0.002],
      ['coalesce(billing_margin = 1, false)', 0.84, 0.02],
      ['user_version = 4', 0.62, 0.02],
      ['accepted_tos IS NULL', 0.07, 0.01],
      ['mcp_config IS NULL', 0.23, 0.02],
      ["coalesce(mcp_config::text = 'null', false)", 0.39, 0.02],
      ['coalesce(length(mcp_config::text) = 61, false)', 0.26, 0.02],
      ['coalesce(length(mcp_config::text) > 61, false)', 0.12, 0.02],
      ['email IS NULL', 0.98, 0.01],
    ];
    const found = await Promise.all(expected.map(([condition]) => share(condition)));
    for (const [n, [condition, wanted, within]] of expected.entries())
      expect(Math.abs((found[n] ?? Number.NaN) - wanted), condition).toBeLessThanOrEqual(within);
    const [repeated] = await rows<{ groups: number; triples: number; surplus: number }>(
      url(),
      `SELECT count(*)::int AS groups, count(*) FILTER (WHERE n > 2)::int AS triples, sum(n - 1)::int AS surplus
       FROM (SELECT count(*) AS n FROM user_settings WHERE keycloak_user_id <> ''
             GROUP BY keycloak_user_id HAVING count(*) > 1) AS shared`,
    );
    expect(repeated?.surplus).toBeGreaterThan(40);
    expect(repeated?.surplus).toBeLessThan(100);
    expect(repeated?.triples).toBeGreaterThan(0);
  });

  it('come plain and fast from the server for measurements', async () => {
    const loaded = await loadUsers(url(), { users: 20_000, seed: 3, profile: 'bench' });
    expect(loaded).toMatchObject({ rows: 20_000, lastId: 20_000 });
    const [row] = await rows<{ bytes: number; keys: number }>(
      url(),
      `SELECT avg(length(user_settings::text))::int AS bytes, count(DISTINCT keycloak_user_id)::int AS keys
       FROM user_settings`,
    );
    expect(row?.keys).toBe(20_000);
    expect(row?.bytes).toBeGreaterThan(420);
    expect(row?.bytes).toBeLessThan(520);
  });
});

describe('the value zoo', () => {
  it('arrives byte for byte', async () => {
    expect(await loadValueZoo(url(), { maximalId: true })).toBe(1_000);
    const made = [...makeZoo({ maximalId: true })].sort((a, b) => Number(a.id) - Number(b.id));
    expectSameLines(await printed(), made.map(copyLine).join(''));
  });

  it('holds what it is for', async () => {
    await loadValueZoo(url());
    const conditions = [
      'id < 0',
      'id = -2147483648',
      'keycloak_user_id IS NULL',
      "keycloak_user_id = ''",
      "billing_margin = 'NaN'",
      "billing_margin::text = '-0'",
      "accepted_tos = 'infinity'",
      "accepted_tos::text LIKE '% BC'",
      "mcp_config::text LIKE '%\\\\u0000%'",
      "mcp_config::text = 'null'",
      "llm_model = ''",
      'length(llm_api_key) = 1000000',
      'length(mcp_config::text) > 1000000',
      'normalize(llm_model, NFC) <> llm_model',
      'pg_column_size(llm_api_key) < length(llm_api_key) / 2',
    ];
    for (const condition of conditions)
      expect(await share(`coalesce(${condition}, false)`), condition).toBeGreaterThan(0);
    const [shared] = await rows<{ n: number }>(
      url(),
      "SELECT count(*)::int AS n FROM user_settings WHERE keycloak_user_id = 'repeated-key'",
    );
    expect(shared?.n).toBe(3);
  });

  it('takes texts as long as asked for', async () => {
    await loadValueZoo(url(), { rows: 60, longestBytes: 12_000_000 });
    expect(await share('length(llm_api_key) = 12000000')).toBeGreaterThan(0);
  });
});

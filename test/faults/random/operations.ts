/** Every kind of change that the random fault test makes, by name, on a small world where everything meets everything. */
import { once } from 'node:events';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { oneOf, type Random } from '../../support/seeded.ts';

/** Rows that every writer changes; above them only witnesses, which nothing but a TRUNCATE takes away. */
export const SHARED_IDS = 60;
export const FIRST_WITNESS = 1_000_000;

/** Large enough to be stored out of line, and incompressible. */
const BIG = `(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 150))`;

/** Rows to begin with: some parked, some duplicates, half of them with values that are stored out of line. */
export const BASE = `
  INSERT INTO user_settings (id, keycloak_user_id, language, llm_api_key, mcp_config, accepted_tos)
  SELECT n, CASE WHEN n % 9 = 0 THEN NULL WHEN n % 11 = 0 THEN '' ELSE 'key' || n % 24 END, 'base',
         CASE WHEN n % 2 = 0 THEN ${BIG} END, CASE WHEN n % 3 = 0 THEN to_json(${BIG}) END, clock_timestamp()
  FROM generate_series(1, ${SHARED_IDS}) n
  ON CONFLICT (id) DO NOTHING`;

export interface Call {
  readonly next: Random;
  readonly client: pg.Client;
  /** A name no other transaction has. */
  readonly name: string;
}

type Operation = (call: Call) => Promise<unknown>;

const TIMES = [
  'infinity',
  '-infinity',
  '0044-03-15 10:00:00.000001 BC',
  '2026-11-23 04:05:06.123457',
  '294276-12-31',
];
const MARGINS = ['NaN', '-0', '0.1', '1e-300', 'Infinity'];

const id = (next: Random): number => 1 + next(SHARED_IDS);
const key = (next: Random): string => `'key${next(24)}'`;

const sql =
  (text: (next: Random) => string): Operation =>
  ({ client, next }) =>
    client.query(text(next));

/** Statements in the order they are sent. */
const each =
  (texts: (next: Random) => readonly string[]): Operation =>
  async ({ client, next }) => {
    for (const text of texts(next)) await client.query(text);
  };

/** What happens inside one transaction, between its BEGIN and its end. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  insert: sql(
    (next) =>
      `INSERT INTO user_settings (id, keycloak_user_id, language, mcp_config) VALUES (${id(next)}, ${key(next)}, 'i', to_json(${BIG})) ON CONFLICT DO NOTHING`,
  ),
  update: sql(
    (next) =>
      `UPDATE user_settings SET accepted_tos = '${oneOf(next, TIMES)}', billing_margin = '${oneOf(next, MARGINS)}', email = E'a\\\\b "{}", \\t' WHERE id = ${id(next)}`,
  ),
  delete: sql((next) => `DELETE FROM user_settings WHERE id BETWEEN ${id(next)} AND ${id(next)}`),
  'no-op update': sql((next) => `UPDATE user_settings SET language = language WHERE id = ${id(next)}`),
  'unchanged TOAST': sql(
    (next) =>
      `UPDATE user_settings SET language = 'u${next(1000)}' WHERE octet_length(llm_api_key) > 2000 AND id > ${id(next)}`,
  ),
  'key change, cold TOAST': sql(
    (next) =>
      `UPDATE user_settings SET keycloak_user_id = ${key(next)} WHERE id = (SELECT id FROM user_settings WHERE octet_length(mcp_config::text) > 2000 AND id >= ${id(next)} AND id <= ${SHARED_IDS} LIMIT 1)`,
  ),
  'NULL to key': sql(
    (next) =>
      `UPDATE user_settings SET keycloak_user_id = CASE WHEN coalesce(keycloak_user_id, '') = '' THEN ${key(next)} ELSE ${oneOf(next, ['NULL', `''`])} END WHERE id = ${id(next)}`,
  ),
  'key chain': each((next) => {
    const [a, b, c] = [id(next), id(next), id(next)];
    return [
      `UPDATE user_settings SET keycloak_user_id = 'chain' || ${a} WHERE id = ${a}`,
      `UPDATE user_settings SET keycloak_user_id = ${key(next)} WHERE id = ${a}`,
      `UPDATE user_settings SET keycloak_user_id = 'chain' || ${a} WHERE id = ${b}`,
      `UPDATE user_settings SET keycloak_user_id = ${key(next)} WHERE id = ${b}`,
      `UPDATE user_settings SET keycloak_user_id = 'chain' || ${a} WHERE id = ${c}`,
    ];
  }),
  'key swap': sql((next) => {
    const [a, b] = [id(next), id(next)];
    return `UPDATE user_settings u SET keycloak_user_id = o.keycloak_user_id FROM user_settings o WHERE u.id IN (${a}, ${b}) AND o.id = ${a + b} - u.id`;
  }),
  'id change': each((next) => {
    const [a, aside] = [id(next), SHARED_IDS + 1 + next(40)];
    return [
      `UPDATE user_settings SET id = ${aside} WHERE id = ${a} AND NOT EXISTS (SELECT FROM user_settings WHERE id = ${aside})`,
      next(2) === 0
        ? `UPDATE user_settings SET id = ${a}, language = 'back' WHERE id = ${aside} AND NOT EXISTS (SELECT FROM user_settings WHERE id = ${a})`
        : `DELETE FROM user_settings WHERE id > ${SHARED_IDS} AND id < 1000 AND id <> ${aside}`,
    ];
  }),
  'duplicate and heir': each((next) => {
    const shared = key(next);
    return [
      `UPDATE user_settings SET keycloak_user_id = ${shared} WHERE id IN (${id(next)}, ${id(next)})`,
      `DELETE FROM user_settings WHERE id = (SELECT min(id) FROM user_settings WHERE keycloak_user_id = ${shared})`,
      `INSERT INTO user_settings (id, keycloak_user_id) VALUES (${id(next)}, ${shared}) ON CONFLICT DO NOTHING`,
    ];
  }),
  truncate: async ({ client, next }) => {
    await client.query('LOCK TABLE user_settings IN ACCESS EXCLUSIVE MODE');
    await client.query('SAVEPOINT emptied');
    // Witnesses may go this way only: it is written down, in the same transaction, which of them did.
    await client.query(
      `INSERT INTO witness_gone SELECT id FROM user_settings WHERE id >= ${FIRST_WITNESS} ON CONFLICT DO NOTHING`,
    );
    await client.query('TRUNCATE user_settings');
    if (next(4) === 0) await client.query('ROLLBACK TO emptied');
    if (next(4) > 0) await client.query(BASE);
  },
  'savepoint rollback': each((next) => [
    'SAVEPOINT undone',
    `UPDATE user_settings SET language = 'undone', keycloak_user_id = ${key(next)} WHERE id >= ${id(next)} AND id <= ${SHARED_IDS}`,
    `DELETE FROM user_settings WHERE id = ${id(next)}`,
    'ROLLBACK TO undone',
    `UPDATE user_settings SET language = 'done' WHERE id = ${id(next)}`,
  ]),
  subtransactions: async ({ client, next }) => {
    for (let n = 0; n < 15; n++) {
      await client.query(`SAVEPOINT s; UPDATE user_settings SET user_version = ${n} WHERE id = ${id(next)}`);
      await client.query(next(3) === 0 ? 'ROLLBACK TO s' : 'RELEASE s');
    }
  },
  copy: async ({ client, next }) => {
    const first = 2_000 + 10 * next(40);
    await client.query(`DELETE FROM user_settings WHERE id BETWEEN ${first} AND ${first + 9}`);
    const into = client.query(copyFrom('COPY user_settings (id, keycloak_user_id, language) FROM STDIN'));
    const stored = once(into, 'finish');
    for (let n = first; n < first + 10; n++) into.write(`${n}\tcopy${n % 7}\tc\n`);
    into.end();
    await stored;
  },
  merge: sql(
    (next) => `
      MERGE INTO user_settings u
      USING (SELECT n AS id, 'key' || n % 24 AS key FROM generate_series(${id(next)}, ${SHARED_IDS}, 7) n) s ON u.id = s.id
      WHEN MATCHED AND u.id % 5 = 0 THEN DELETE
      WHEN MATCHED THEN UPDATE SET language = 'merged', llm_api_key = NULL
      WHEN NOT MATCHED THEN INSERT (id, keycloak_user_id) VALUES (s.id, s.key)`,
  ),
  'on conflict': sql(
    (next) =>
      `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'key' || n % 24 FROM generate_series(${id(next)}, ${SHARED_IDS}, ${1 + next(9)}) n ON CONFLICT (id) DO UPDATE SET language = 'again', max_iterations = ${next(99)}`,
  ),
  'whole table': sql(() => 'UPDATE user_settings SET user_version = user_version + 1'),
  'large transaction': each((next) => [
    `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'large' || n % 200 FROM generate_series(10001, 10300) n ON CONFLICT (id) DO UPDATE SET max_iterations = user_settings.id % 7`,
    `DELETE FROM user_settings WHERE id BETWEEN 10001 AND 10300 AND id % ${1 + next(3)} = 0`,
  ]),
};

/** How a transaction ends, and what happens around it; counted like the operations. */
export const ENDINGS = ['interleaved', 'prepared', 'prepared, undone', 'rollback'] as const;

const RARE = ['truncate', 'whole table', 'large transaction'];

/** Names to draw from; what touches every row comes less often. */
export const DRAWN: readonly string[] = Object.keys(OPERATIONS).flatMap((name) =>
  Array.from<string>({ length: RARE.includes(name) ? 1 : 6 }).fill(name),
);

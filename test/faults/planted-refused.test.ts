/** Differences planted under a running migration: the commands name each, end with 3, and do not hand over (I9). */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument, VerifyDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { plantOn } from '../support/plant.ts';
import { execute, rows, withClient } from '../support/sql.ts';

let pair: Pair;
let j: Journey;
let running: Running;

beforeAll(async () => {
  pair = await freshPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 300, seed: 'planted' }));
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, llm_model, agent, language, mcp_config, llm_api_key, accepted_tos)
     VALUES (9001, 'first', '', 'A ', E'caf\\u00e9', '{"a": 1, "b": 2}', repeat('x', 1000000), '2025-01-01 00:00:00.000001'),
            (9002, 'second', 'm', 'B', 'en', NULL, 'k', NULL),
            (9003, NULL, 'm', 'C', 'en', NULL, 'k', NULL)`,
  );
  j = journey(pair);
  running = j.run();
  await j.ready(running);
});
afterAll(async () => {
  running?.kill();
  await running?.ended;
  await pair?.drop();
});

const settings = (column: string, planted: string, mended: string): [string, string, object[]] => [
  `UPDATE settings SET ${column} = ${planted} WHERE id = 9001`,
  `UPDATE settings SET ${column} = ${mended} WHERE id = 9001`,
  [{ table: 'settings', key: '9001', kind: 'different', columns: [column] }],
];
const SWAP = `UPDATE settings SET id = -77, org_id = -77 WHERE id = 9001;
  UPDATE settings SET id = 9001, org_id = 9001 WHERE id = 9002;
  UPDATE settings SET id = 9002, org_id = 9002 WHERE id = -77`;

it.each<[string, [string, string, object[]]]>([
  ["'' becomes NULL", settings('llm_model', 'NULL', `''`)],
  ['a trailing space goes', settings('agent', `'A'`, `'A '`)],
  ['NFC becomes NFD', settings('language', `E'cafe\\u0301'`, `E'caf\\u00e9'`)],
  [
    'one byte of a 1 MB value',
    settings('llm_api_key', `overlay(llm_api_key placing 'y' from 500000)`, `repeat('x', 1000000)`),
  ],
  ['json of the same meaning', settings('mcp_config', `'{"b": 2, "a": 1}'`, `'{"a": 1, "b": 2}'`)],
  [
    'a microsecond',
    [
      `UPDATE "user" SET accepted_tos = accepted_tos + interval '1 microsecond' WHERE id = 9001`,
      `UPDATE "user" SET accepted_tos = accepted_tos - interval '1 microsecond' WHERE id = 9001`,
      [{ table: 'user', key: '9001', kind: 'different', columns: ['accepted_tos'] }],
    ],
  ],
  [
    'a missing membership',
    [
      'DELETE FROM org_user WHERE user_id = 9001',
      `INSERT INTO org_user VALUES (9001, 9001, 1, 'active')`,
      [{ table: 'org_user', key: '9001', kind: 'missing', columns: [] }],
    ],
  ],
  [
    'an extra role',
    [
      `INSERT INTO role VALUES (3, 'owner', 0)`,
      'DELETE FROM role WHERE id = 3',
      [{ table: 'role', key: '3', kind: 'extra', columns: [] }],
    ],
  ],
  [
    'a changed row that is nobody’s',
    [
      'UPDATE role SET rank = 5 WHERE id = 2',
      'UPDATE role SET rank = 1000 WHERE id = 2',
      [{ table: 'role', key: '2', kind: 'different', columns: ['rank'] }],
    ],
  ],
  [
    "two users' settings swapped",
    [
      SWAP,
      SWAP,
      ['9001', '9002'].map((key) => ({
        table: 'settings',
        key,
        kind: 'different',
        columns: expect.arrayContaining(['agent', 'llm_api_key']),
      })),
    ],
  ],
  [
    'an orphan: the organisation is gone',
    [
      'DELETE FROM org WHERE id = 9001',
      `INSERT INTO org (id, name) VALUES (9001, 'user_9001_org')`,
      [{ table: 'org', key: '9001', kind: 'missing', columns: [] }],
    ],
  ],
  [
    'a parked row with another value',
    [
      `UPDATE orchestrator.parked SET agent = 'D' WHERE id = 9003`,
      `UPDATE orchestrator.parked SET agent = 'C' WHERE id = 9003`,
      [{ table: 'parked', key: '9003', kind: 'different', columns: ['agent'] }],
    ],
  ],
])('%s', async (_what, [planted, mended, found]) => {
  await plantOn(pair, 'green', planted);
  try {
    const swept = await j.command('verify', '--json');
    expect(swept.json<VerifyDocument>().mismatches).toEqual(found);
    expect(swept.exit).toBe(3);
    const asked = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
    const document = asked.json<HandoverDocument>();
    expect([asked.exit, document.outcome, document.serving]).toEqual([3, 'no-go', 'blue']);
    expect(document.gates?.filter((gate) => !gate.passed).map((gate) => gate.name)).toContain('sweep');
  } finally {
    await plantOn(pair, 'green', mended);
  }
});

it('mended, everything is equal again, and the cutover goes through', async () => {
  const swept = await j.command('verify', '--json');
  expect([swept.exit, swept.json<VerifyDocument>().mismatches]).toEqual([0, []]);
  const [fence] = await rows<{ n: number }>(
    pair.blue.urls.app,
    `UPDATE user_settings SET agent = 'A ' WHERE id = 9001 RETURNING 1 AS n`,
  );
  expect(fence?.n).toBe(1);
  const done = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
  expect([done.exit, done.json<HandoverDocument>().outcome]).toEqual([0, 'done']);
});

import { expect, test } from 'vitest';
import { freshPair } from '../support/databases.ts';
import { bothSides, forwardStream } from '../support/forward-stream.ts';
import { seeded } from '../support/seeded.ts';
import { withClient } from '../support/sql.ts';

const BIG = `(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 400))`;

/** One statement on a small world: forty ids and a dozen keys, so that everything meets everything. */
function statement(next: (below: number) => number): string {
  const id = () => 1 + next(40);
  const key = () => (next(8) === 0 ? 'NULL' : next(9) === 0 ? `''` : `'key${next(12)}'`);
  switch (next(14)) {
    case 0:
    case 1:
      return `INSERT INTO user_settings (id, keycloak_user_id, language, mcp_config) VALUES (${id()}, ${key()}, 'i', to_json(${BIG})) ON CONFLICT (id) DO NOTHING`;
    case 2:
      return `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'key' || n % 12 FROM generate_series(1, 40, ${1 + next(9)}) n ON CONFLICT (id) DO UPDATE SET language = 'again'`;
    case 3:
      return `DELETE FROM user_settings WHERE id = ${id()}`;
    case 4:
    case 5:
      return `UPDATE user_settings SET keycloak_user_id = ${key()} WHERE id = ${id()}`;
    case 6: {
      const [a, b] = [id(), id()];
      return `UPDATE user_settings u SET keycloak_user_id = o.keycloak_user_id FROM user_settings o WHERE u.id IN (${a}, ${b}) AND o.id = ${a} + ${b} - u.id`;
    }
    case 7:
      return `UPDATE user_settings SET id = 41 + ${next(20)} WHERE id = ${id()} AND NOT EXISTS (SELECT FROM user_settings WHERE id > 40)`;
    case 8:
      return `UPDATE user_settings SET id = ${id()} WHERE id > 40`;
    case 9:
      return `UPDATE user_settings SET llm_api_key = ${BIG} WHERE id = ${id()}`;
    case 10:
      return `UPDATE user_settings SET accepted_tos = clock_timestamp(), enable_sound_notifications = NOT enable_sound_notifications WHERE id = ${id()}`;
    case 11:
      return `UPDATE user_settings SET user_version = user_version + 1 WHERE id % ${2 + next(5)} = 0`;
    case 12:
      return `DELETE FROM user_settings WHERE id BETWEEN ${id()} AND ${id()}`;
    default:
      return next(6) === 0
        ? 'TRUNCATE user_settings'
        : `UPDATE user_settings SET language = 'u${next(9)}', mcp_config = NULL WHERE id = ${id()}`;
  }
}

/** A transaction with a savepoint that may be rolled back; sometimes all of it is. */
function transactionOf(next: (below: number) => number): string[] {
  const statements = ['BEGIN'];
  for (let n = 1 + next(4); n > 0; n--) {
    statements.push('SAVEPOINT here', statement(next));
    if (next(4) === 0) statements.push('ROLLBACK TO here');
  }
  statements.push(next(8) === 0 ? 'ROLLBACK' : 'COMMIT');
  return statements;
}

const SEED = Number(process.env['STREAM_SEED'] ?? 20261123);

test.each([
  { maxChanges: 1, seed: SEED },
  { maxChanges: 5, seed: SEED + 1 },
  { maxChanges: 2000, seed: SEED + 2 },
  { maxChanges: 2000, seed: SEED + 3 },
])(
  'seed $seed, batches of $maxChanges: three writers, every kind of change',
  async ({ maxChanges, seed }) => {
    const pair = await freshPair();
    const stream = await forwardStream(pair, { maxChanges });
    try {
      for (let round = 0; round < 3; round++) {
        await Promise.all(
          [1, 2, 3].map((writer) =>
            withClient(pair.blue.urls.app, async (client) => {
              const next = seeded(seed * 1000 + round * 10 + writer);
              for (let n = 0; n < 40; n++)
                // Writers deadlock and collide among themselves: the server undoes what it refuses.
                for (const sql of transactionOf(next))
                  await client.query(sql).catch(() => client.query('ROLLBACK'));
            }),
          ),
        );
        // A TRUNCATE may have come last; an empty table proves nothing.
        await stream.blue(
          `INSERT INTO user_settings (id, keycloak_user_id) SELECT n, 'key' || n % 12 FROM generate_series(1, 40, 3) n ON CONFLICT (id) DO NOTHING`,
        );
        await stream.drained();
        const { blue, green, counts } = await bothSides(pair);
        expect(blue.length, `seed ${seed}, round ${round}`).toBeGreaterThan(0);
        expect(green, `seed ${seed}, round ${round}`).toEqual(blue);
        const { users, orgs, members, settings, ...wrong } = counts;
        expect([orgs, members, settings], `seed ${seed}, round ${round}`).toEqual([users, users, users]);
        expect(wrong, `seed ${seed}, round ${round}`).toEqual({ misjudged: '0', vacant: '0', doubled: '0' });
      }
    } finally {
      await stream.stop();
      await pair.drop();
    }
  },
);

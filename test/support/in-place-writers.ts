/** Writers of an old application during an in-place 057, and a history that says what stood when its last pass began. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { createRandom } from '../../orchestrator/rehearsal/generator/random.ts';
import type { Pair } from './databases.ts';
import { execute, rows } from './sql.ts';

/**
 * Every change of user_settings with a number that is drawn under the table's lock; 057 draws one too when it writes
 * its record, with writers locked out. So lower numbers are what the org model must show, higher ones came after it.
 */
const HISTORY = `
  CREATE TABLE before_057 AS TABLE user_settings;
  CREATE SEQUENCE moment;
  CREATE TABLE history (seq bigint PRIMARY KEY DEFAULT nextval('moment'), op text NOT NULL, id integer, written user_settings);
  CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$ BEGIN
    IF TG_OP = 'DELETE' THEN INSERT INTO history (op, id) VALUES ('DELETE', OLD.id);
    ELSE
      IF TG_OP = 'UPDATE' AND NEW.id <> OLD.id THEN INSERT INTO history (op, id) VALUES ('DELETE', OLD.id); END IF;
      INSERT INTO history (op, id, written) VALUES (TG_OP, NEW.id, NEW);
    END IF;
    RETURN NULL; END $$;
  CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON user_settings FOR EACH ROW EXECUTE FUNCTION remember();
  CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$ BEGIN
    IF NEW.name LIKE '057%' THEN INSERT INTO history (op) VALUES ('MARK'); END IF; RETURN NULL; END $$;
  CREATE TRIGGER mark AFTER INSERT ON orchestrate_migrations FOR EACH ROW EXECUTE FUNCTION mark();`;

/** What user_settings held at the mark. */
const AT_MARK = `
  CREATE TABLE at_mark AS
  WITH last AS (
    SELECT DISTINCT ON (h.id) h.* FROM history AS h
    WHERE h.id IS NOT NULL AND h.seq < (SELECT seq FROM history WHERE op = 'MARK') ORDER BY h.id, h.seq DESC)
  SELECT b.* FROM before_057 AS b WHERE b.id NOT IN (SELECT id FROM last)
  UNION ALL
  SELECT (l.written).* FROM last AS l WHERE l.op <> 'DELETE'`;

/** Starts the history; 056 is applied already. */
export async function keepHistory(pair: Pair): Promise<void> {
  await execute(pair.blue.urls.owner, HISTORY);
}

/** Makes the table `at_mark`. @returns how many changes came before and after the mark. */
export async function foldHistory(pair: Pair): Promise<{ before: number; after: number; people: number }> {
  await execute(pair.blue.urls.owner, AT_MARK);
  const [counted] = await rows<{ before: number; after: number; people: number }>(
    pair.blue.urls.owner,
    `SELECT count(*) FILTER (WHERE h.seq < m.seq)::integer AS before,
            count(*) FILTER (WHERE h.seq > m.seq)::integer AS after,
            (SELECT count(DISTINCT keycloak_user_id)::integer FROM at_mark WHERE keycloak_user_id <> '') AS people
     FROM history AS h, (SELECT seq FROM history WHERE op = 'MARK') AS m WHERE h.op <> 'MARK'`,
  );
  if (counted === undefined) throw new Error('no history');
  return counted;
}

const pick = (more = '') =>
  `(SELECT id FROM user_settings ${more} ORDER BY id OFFSET floor(random() * (SELECT count(*) FROM user_settings)) LIMIT 1)`;
const KEY = `(SELECT keycloak_user_id FROM user_settings WHERE id = ${pick()})`;

/** What an application, and now and then a person with psql, does; one transaction each. */
const OPERATIONS: readonly (readonly [weight: number, statements: readonly string[]])[] = [
  [
    55,
    [`UPDATE user_settings SET llm_api_key = md5(random()::text), max_iterations = 7 WHERE id = ${pick()}`],
  ],
  [12, [`INSERT INTO user_settings (keycloak_user_id, language) VALUES (gen_random_uuid()::text, 'ja')`]],
  [5, [`INSERT INTO user_settings (keycloak_user_id) VALUES (${KEY})`]],
  [5, [`DELETE FROM user_settings WHERE id = ${pick()}`]],
  [6, [`UPDATE user_settings SET keycloak_user_id = ${KEY} WHERE id = ${pick()}`]],
  [3, [`UPDATE user_settings SET keycloak_user_id = NULL WHERE id = ${pick()}`]],
  [3, [`UPDATE user_settings SET keycloak_user_id = '' WHERE id = ${pick()}`]],
  [
    3,
    [
      `UPDATE user_settings SET keycloak_user_id = gen_random_uuid()::text WHERE keycloak_user_id IS NULL AND id = (SELECT min(id) FROM user_settings WHERE keycloak_user_id IS NULL)`,
    ],
  ],
  [
    2,
    [
      `UPDATE user_settings SET id = (SELECT max(id) + 1 FROM user_settings WHERE id < 1000000) WHERE id = ${pick('WHERE id < 1000000')}`,
    ],
  ],
  [
    6,
    [
      'SAVEPOINT a',
      `UPDATE user_settings SET agent = 'in a subtransaction' WHERE id = ${pick()}`,
      'SAVEPOINT b',
      `DELETE FROM user_settings WHERE id = ${pick()}`,
      'ROLLBACK TO b',
    ],
  ],
];

/** @returns the statements of the operation in whose share of the weights `place` lies. */
function drawn(place: number): readonly string[] {
  let end = 0;
  for (const [weight, statements] of OPERATIONS) {
    end += weight;
    if (place <= end) return statements;
  }
  throw new RangeError('a place beyond all weights');
}

export interface Writers {
  /** Stops. @returns how many transactions were committed, and how many failed. */
  stop(): Promise<{ committed: number; failed: string[] }>;
}

/** Offers `rate` transactions a second over a few sessions of the application. */
export function startWriters(pair: Pair, rate: number, seed: number): Writers {
  const sessions = 6;
  let stopped = false;
  let committed = 0;
  const failed: string[] = [];
  const total = OPERATIONS.reduce((sum, [weight]) => sum + weight, 0);
  const session = async (n: number): Promise<void> => {
    const random = createRandom(`${seed}-${n}`);
    const client = new pg.Client({ connectionString: pair.blue.urls.app });
    await client.connect();
    const startedAt = performance.now();
    for (let i = 0; !stopped; i++) {
      const due = startedAt + (i * sessions * 1_000) / rate;
      if (due > performance.now()) await delay(due - performance.now());
      const statements = drawn(random.between(1, total));
      try {
        await client.query('BEGIN');
        for (const statement of statements) await client.query(statement);
        await client.query('COMMIT');
        committed += 1;
      } catch (error) {
        await client.query('ROLLBACK');
        const code = (error as { code?: string }).code ?? String(error);
        // Two of our own writers on one row or one number: nothing that 057 has done.
        if (!['23505', '40P01'].includes(code)) failed.push(code);
      }
    }
    await client.end();
  };
  const all = Promise.all(Array.from({ length: sessions }, (_, n) => session(n)));
  return {
    async stop() {
      stopped = true;
      await all;
      return { committed, failed };
    },
  };
}

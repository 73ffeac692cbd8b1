/**
 * Random histories on green, with the applier stopped and started in between: at the end blue is the inverse of green
 * and the parked rows, and every user's preferences are those an oracle remembers, whatever organisations were renamed.
 */
import { afterEach, expect, test } from 'vitest';
import { createRandom } from '../../orchestrator/rehearsal/generator/random.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import {
  blueRows,
  type GreenServing,
  greenInverse,
  greenServing,
  parkedRows,
  reverseStream,
} from '../support/green-serving.ts';
import { execute, withClient } from '../support/sql.ts';

let pair: Pair;
let side: GreenServing | undefined;
afterEach(async () => {
  await side?.stop();
  side = undefined;
  await pair.drop();
});

const COPIED = 20;

interface Person {
  readonly org: number;
  settings: number | null;
  language: string | null;
}

/** Writes statements, and remembers whose preferences are what. Ids of users, orgs and settings overlap on purpose. */
class Oracle {
  readonly people = new Map<number, Person>();
  readonly #random: ReturnType<typeof createRandom>;
  #user = 100;
  #org = 97;
  #settings = 104;
  #text = 0;

  constructor(seed: string) {
    this.#random = createRandom(seed);
    for (let k = 1; k <= COPIED; k += 1) this.people.set(k, { org: k, settings: k, language: 'en' });
  }

  #pick(): number | undefined {
    const all = [...this.people.keys()];
    return all[this.#random.between(0, all.length - 1)];
  }

  /** One transaction; half of the sign-ups come in pieces. */
  next(): string[] {
    const k = this.#pick();
    const dice = this.#random.between(1, 100);
    if (k === undefined || dice <= 25) return this.#signUp();
    const person = this.people.get(k) as Person;
    this.#text += 1;
    const text = `v${this.#text}`;
    if (dice <= 55) {
      if (person.settings === null) return [];
      person.language = text;
      return [`UPDATE settings SET language = '${text}' WHERE id = ${person.settings}`];
    }
    if (dice <= 63) return [`UPDATE org SET name = 'renamed ${text}' WHERE id = ${person.org}`];
    if (dice <= 70) return [`UPDATE "user" SET keycloak_user_id = 'key ${text}' WHERE id = ${k}`];
    if (dice <= 78) {
      const guest = this.#pick() as number;
      return [
        `INSERT INTO org_user VALUES (${person.org}, ${guest}, ${this.#random.between(1, 2)}, 'invited')
         ON CONFLICT DO NOTHING`,
      ];
    }
    if (dice <= 83) {
      this.#settings += 1;
      const former = person.settings;
      person.settings = this.#settings;
      person.language = text;
      return [
        `${former === null ? '' : `DELETE FROM settings WHERE id = ${former};`}
         INSERT INTO settings (id, org_id, language) VALUES (${this.#settings}, ${person.org}, '${text}')`,
      ];
    }
    if (dice <= 87) {
      if (person.settings === null) return [];
      const former = person.settings;
      person.settings = null;
      person.language = null;
      return [`DELETE FROM settings WHERE id = ${former}`];
    }
    if (dice <= 91)
      return [
        `SAVEPOINT s; UPDATE settings SET language = 'rolled back' WHERE org_id = ${person.org}; ROLLBACK TO s;
         UPDATE "user" SET enable_sound_notifications = true WHERE id = ${k}`,
      ];
    if (dice <= 94) {
      this.#org += 1;
      return [`INSERT INTO org (id, name) VALUES (${this.#org}, 'extra ${text}')`];
    }
    this.people.delete(k);
    return [
      `DELETE FROM org_user WHERE org_id = ${person.org} OR user_id = ${k}; DELETE FROM settings WHERE org_id = ${person.org};
       DELETE FROM "user" WHERE id = ${k}; ${this.#random.chance(0.5) ? `DELETE FROM org WHERE id = ${person.org}` : ''}`,
    ];
  }

  #signUp(): string[] {
    this.#user += 1;
    this.#org += this.#random.between(1, 2);
    this.#settings += 1;
    this.#text += 1;
    const k = this.#user;
    const org = this.#org;
    const settings = this.#settings;
    const language = `v${this.#text}`;
    this.people.set(k, { org, settings, language });
    const user = `INSERT INTO "user" (id, keycloak_user_id) VALUES (${k}, 'born ${k}')`;
    const place = `INSERT INTO org (id, name) VALUES (${org}, 'user_${k}_org')`;
    const member = `INSERT INTO org_user VALUES (${org}, ${k}, 1, 'active')`;
    const own = `INSERT INTO settings (id, org_id, language) VALUES (${settings}, ${org}, '${language}')`;
    const orders = [
      [user, place, member, own],
      [place, user, own, member],
      [place, own, user, member],
    ];
    const steps = orders[this.#random.between(0, 2)] as string[];
    return this.#random.chance(0.5) ? steps : [steps.join('; ')];
  }
}

test.each(['a', 'b', 'c'])('history %s', async (seed) => {
  pair = await freshPair();
  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (id, keycloak_user_id, language)
     SELECT i, 'copied ' || i, 'en' FROM generate_series(1, ${COPIED}) AS i;
     INSERT INTO user_settings (id, keycloak_user_id, language) VALUES (50, NULL, 'p'), (51, 'copied 3', 'p')`,
  );
  side = await greenServing(pair, { maxChanges: 7 });
  const oracle = new Oracle(`reverse/${seed}`);
  const random = createRandom(`stops/${seed}`);
  for (let n = 0; n < 12; n += 1) {
    await withClient(pair.green.urls.app, async (client) => {
      for (let i = 0; i < 25; i += 1)
        for (const statements of oracle.next()) await client.query(`BEGIN; ${statements}; COMMIT`);
    });
    // Sometimes the stream falls behind, sometimes it begins anew, sometimes it keeps up.
    if (random.chance(0.4)) {
      await side.stop();
      side = await reverseStream(pair, side.ctx, { maxChanges: random.between(1, 40) });
    } else if (random.chance(0.5)) await side.drained();
  }
  await side.drained();

  const blue = await blueRows(pair);
  const expected = [...(await greenInverse(pair, side.ctx)), ...(await parkedRows(pair))];
  expect(blue).toEqual(expected.sort((a, b) => Number(a[0]) - Number(b[0])));
  const languages = new Map(blue.map((row) => [Number(row[0]), row[2]]));
  expect(oracle.people.size).toBeGreaterThan(COPIED);
  for (const [k, person] of oracle.people) expect([k, languages.get(k)]).toEqual([k, person.language]);
  expect(languages.size).toBe(oracle.people.size + 2);
});

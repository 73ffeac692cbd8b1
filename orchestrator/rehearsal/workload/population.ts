import type pg from 'pg';
import { RAW_TEXT } from '../connection.ts';
import type { Random } from '../generator/random.ts';

/** One user whom exactly one client writes to. */
export interface Person {
  readonly id: number;
  readonly key: string | null;
}

/** People with an order-free pick and removal. */
export class People {
  readonly #all: Person[] = [];
  readonly #at = new Map<number, number>();

  get size(): number {
    return this.#all.length;
  }

  add(person: Person): void {
    this.remove(person.id);
    this.#at.set(person.id, this.#all.length);
    this.#all.push(person);
  }

  remove(id: number): void {
    const at = this.#at.get(id);
    if (at === undefined) return;
    this.#at.delete(id);
    const last = this.#all.pop();
    if (last === undefined || last.id === id) return;
    this.#all[at] = last;
    this.#at.set(last.id, at);
  }

  has(matches: (person: Person) => boolean): boolean {
    return this.#all.some(matches);
  }

  pick(random: Random): Person | undefined {
    return this.#all.length === 0 ? undefined : random.pick(this.#all);
  }
}

/**
 * The users one client owns. `regular` have a key of their own; `odd` have none, an empty one or one that others have
 * too: the old schema can write to them, the new one does not know them all.
 */
export interface Flock {
  readonly regular: People;
  readonly odd: People;
}

const OLD_SCHEMA_USERS = `
  SELECT id, keycloak_user_id AS key, sharing
  FROM (
    SELECT id, keycloak_user_id, count(*) OVER (PARTITION BY keycloak_user_id) AS sharing FROM user_settings
  ) AS counted
  WHERE abs(id) % $1 = 0 AND ($2::integer IS NULL OR id >= $2)
  ORDER BY id`;

const NEW_SCHEMA_USERS = `
  SELECT id, keycloak_user_id AS key, 1 AS sharing FROM "user"
  WHERE abs(id) % $1 = 0 AND ($2::integer IS NULL OR id >= $2) ORDER BY id`;

const OLD_SCHEMA_COUNT = 'SELECT count(*) AS n, max(id) AS highest FROM user_settings';
const NEW_SCHEMA_COUNT = 'SELECT count(*) AS n, max(id) AS highest FROM "user"';

/**
 * Reads who is there and deals the users out, each to one client.
 * @param from users with a lower id are left alone.
 * @param atMost about how many users to write to; a larger table is sampled by id.
 */
export async function dealUsers(
  client: pg.Client,
  schema: 'old' | 'new',
  clients: number,
  atMost: number,
  from?: number,
): Promise<{ flocks: Flock[]; highestId: number }> {
  const counted = await client.query<{ n: string; highest: string | null }>({
    text: schema === 'old' ? OLD_SCHEMA_COUNT : NEW_SCHEMA_COUNT,
    types: RAW_TEXT,
  });
  const step = Math.max(1, Math.ceil(Number(counted.rows[0]?.n ?? 0) / atMost));
  const found = await client.query<{ id: string; key: string | null; sharing: string }>({
    text: schema === 'old' ? OLD_SCHEMA_USERS : NEW_SCHEMA_USERS,
    values: [String(step), from ?? null],
    types: RAW_TEXT,
  });
  const flocks: Flock[] = Array.from({ length: clients }, () => ({
    regular: new People(),
    odd: new People(),
  }));
  for (const [n, { id, key, sharing }] of found.rows.entries()) {
    const flock = flocks[n % clients] as Flock;
    const plain = key !== null && key !== '' && sharing === '1';
    (plain ? flock.regular : flock.odd).add({ id: Number(id), key });
  }
  return { flocks, highestId: Number(counted.rows[0]?.highest ?? 0) };
}

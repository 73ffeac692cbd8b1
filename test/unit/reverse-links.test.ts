/**
 * Whose rows are whose, over thousands of random histories of a model of green: the facts come late, in batches of any
 * size, some batches twice, and what is "known" is always green as it is now, not as it was.
 */
import { expect, test } from 'vitest';
import { createRandom, type Random } from '../../orchestrator/rehearsal/generator/random.ts';
import type { Change, Relation } from '../../orchestrator/stream/change.ts';
import { decideLinks, type Known, type Link } from '../../orchestrator/stream/links.ts';
import { marksOf, namedAfter } from '../../orchestrator/stream/reverse-marks.ts';

const relation = (name: string, columns: readonly string[]): Relation => ({
  oid: 1,
  schema: 'public',
  name,
  identity: 'f',
  columns: columns.map((column) => ({ name: column, typeOid: 23, typeModifier: -1, key: true })),
});
// In an order that no real table has: positions must not matter.
const TABLES = {
  user: relation('user', ['keycloak_user_id', 'role_id', 'id']),
  org: relation('org', ['contact_email', 'name', 'id', 'contact_name', 'conversation_expiration']),
  org_user: relation('org_user', ['status', 'role_id', 'user_id', 'org_id']),
  settings: relation('settings', ['user_id', 'org_id', 'language', 'id']),
};
type Table = keyof typeof TABLES;
type Row = Readonly<Record<string, string | null>>;

/** Green: four tables, and the stream of what was done to them. */
class Green {
  readonly rows: Readonly<Record<Table, Map<string, Row>>> = {
    user: new Map(),
    org: new Map(),
    org_user: new Map(),
    settings: new Map(),
  };
  readonly stream: Change[] = [];

  put(table: Table, key: string, row: Row, silent = false): void {
    const old = this.rows[table].get(key);
    this.rows[table].set(key, row);
    const tuple = (r: Row) => TABLES[table].columns.map((c) => r[c.name] ?? null);
    if (silent) return;
    this.stream.push(
      old === undefined
        ? { kind: 'insert', relation: TABLES[table], row: tuple(row) }
        : { kind: 'update', relation: TABLES[table], row: tuple(row), old: tuple(old) },
    );
  }

  remove(table: Table, key: string): void {
    const old = this.rows[table].get(key);
    if (old === undefined) return;
    this.rows[table].delete(key);
    this.stream.push({
      kind: 'delete',
      relation: TABLES[table],
      old: TABLES[table].columns.map((c) => old[c.name] ?? null),
    });
  }

  user(k: number, silent = false): void {
    this.put('user', `${k}`, { id: `${k}`, keycloak_user_id: `key ${k}` }, silent);
  }
  org(id: number, name: string, silent = false): void {
    this.put('org', `${id}`, { id: `${id}`, name }, silent);
  }
  member(org: number, k: number, role: number, silent = false): void {
    this.put(
      'org_user',
      `${org}:${k}`,
      { org_id: `${org}`, user_id: `${k}`, role_id: `${role}`, status: 'active' },
      silent,
    );
  }
  settings(id: number, org: number, silent = false): void {
    this.put('settings', `${id}`, { id: `${id}`, org_id: `${org}` }, silent);
  }
}

/** `link` and `born_org`, with the unique columns that the real table has. */
class Control {
  readonly links = new Map<number, Link>();
  readonly born = new Map<number, number | null>();

  take(changes: readonly Change[], green: Green): void {
    const decided = decideLinks(marksOf(changes).facts, this.known(green));
    for (const [k, link] of decided.links)
      if (link === null) this.links.delete(k);
      else this.links.set(k, link);
    for (const [org, k] of decided.born)
      if (k === 'gone') this.born.delete(org);
      else this.born.set(org, k);
    for (const column of ['org', 'settings'] as const) {
      const held = [...this.links.values()].map((l) => l[column]).filter((id) => id !== null);
      if (new Set(held).size !== held.length) throw new Error(`two users share a row of ${column}`);
    }
  }

  known(green: Green): Known {
    const admins = new Map<number, Map<number, boolean>>();
    for (const m of green.rows.org_user.values())
      if (m['role_id'] === '1') {
        const k = Number(m['user_id']);
        admins.set(k, (admins.get(k) ?? new Map<number, boolean>()).set(Number(m['org_id']), true));
      }
    return {
      links: this.links,
      born: this.born,
      users: new Set([...green.rows.user.keys()].map(Number)),
      admins,
      orgSettings: new Map(
        [...green.rows.settings.values()].map((s) => [Number(s['org_id']), Number(s['id'])] as const),
      ),
      dressed: new Set(),
    };
  }
}

interface Own {
  org: number;
  settings: number | null;
}

/** Random life on green; remembers whose own is what. */
class Life {
  readonly green = new Green();
  readonly people = new Map<number, Own>();
  /**
   * Users whose organisation got its name after the membership: whether it was an admin's at that moment is only read
   * from green as it is now, so nobody's role is changed behind a lagging stream.
   */
  readonly #namedLate = new Set<number>();
  readonly #random: Random;
  #user: number;
  #org: number;
  #settings: number;
  #text = 0;

  constructor(random: Random, copied: number) {
    this.#random = random;
    for (let k = 1; k <= copied; k += 1) {
      this.people.set(k, { org: k, settings: k });
      this.green.user(k, true);
      this.green.org(k, `user_${k}_org`, true);
      this.green.member(k, k, 1, true);
      this.green.settings(k, k, true);
    }
    // Close together, so that users, organisations and settings rows keep meeting each other's numbers.
    this.#user = copied + random.between(1, 6);
    this.#org = copied + random.between(1, 6);
    this.#settings = copied + random.between(1, 6);
  }

  step(): void {
    const random = this.#random;
    const dice = random.between(1, 100);
    if (dice <= 35 || this.people.size === 0) {
      this.#signUp();
      return;
    }
    const k = random.pick([...this.people.keys()]);
    const own = this.people.get(k) as Own;
    this.#text += 1;
    if (dice <= 45) {
      this.green.org(own.org, `renamed ${this.#text}`);
      return;
    }
    if (dice <= 57) {
      const host = this.people.get(random.pick([...this.people.keys()])) as Own;
      if (host.org !== own.org) this.green.member(host.org, k, random.between(1, 2));
      return;
    }
    if (dice <= 65) {
      if (own.settings !== null) this.green.remove('settings', `${own.settings}`);
      this.#settings += 1;
      own.settings = this.#settings;
      this.green.settings(own.settings, own.org);
      return;
    }
    if (dice <= 70) {
      if (own.settings !== null) this.green.remove('settings', `${own.settings}`);
      own.settings = null;
      return;
    }
    if (dice <= 78) {
      this.#org += 1;
      this.green.org(this.#org, `extra ${this.#text}`);
      if (random.chance(0.5)) this.green.member(this.#org, k, 1);
      if (random.chance(0.5)) {
        this.#settings += 1;
        this.green.settings(this.#settings, this.#org);
      }
      return;
    }
    if (dice <= 85) {
      if (!this.#namedLate.has(k)) this.green.member(own.org, k, random.between(1, 2));
      return;
    }
    this.people.delete(k);
    for (const [key, m] of this.green.rows.org_user)
      if (Number(m['org_id']) === own.org || Number(m['user_id']) === k) this.green.remove('org_user', key);
    for (const [key, s] of this.green.rows.settings)
      if (Number(s['org_id']) === own.org) this.green.remove('settings', key);
    this.green.remove('user', `${k}`);
    if (random.chance(0.5)) this.green.remove('org', `${own.org}`);
  }

  #signUp(): void {
    this.#user += 1;
    this.#org += this.#random.between(1, 2);
    this.#settings += 1;
    const [k, org, settings] = [this.#user, this.#org, this.#settings];
    this.people.set(k, { org, settings });
    const { green } = this;
    const user = () => green.user(k);
    const member = () => green.member(org, k, 1);
    const own = () => green.settings(settings, org);
    const place = () => green.org(org, `user_${k}_org`);
    const temporary = () => green.org(org, `temporary ${k}`);
    const acts = this.#random.pick([
      [user, place, member, own],
      [place, user, member, own],
      [place, own, user, member],
      [user, place, own, member],
      [user, temporary, member, own, place],
      [temporary, user, own, member, place],
    ]);
    if (acts.includes(temporary)) this.#namedLate.add(k);
    for (const act of acts) act();
  }
}

test("whatever lags, each user keeps what is his own, and nobody gets a stranger's", () => {
  for (let seed = 1; seed <= 1_000; seed += 1) {
    const random = createRandom(`links/${seed}`);
    const life = new Life(random, random.between(0, 4));
    const control = new Control();
    let taken = 0;
    const catchUp = (to: number): void => {
      while (taken < to) {
        const end = Math.min(to, taken + random.between(1, 12));
        const batch = life.green.stream.slice(taken, end);
        control.take(batch, life.green);
        // Green's part was written, blue's was not: the batch comes again, perhaps with what followed it.
        if (random.chance(0.2)) continue;
        taken = end;
      }
    };
    for (let n = random.between(5, 30); n > 0; n -= 1) {
      life.step();
      if (random.chance(0.3)) catchUp(life.green.stream.length);
    }
    catchUp(life.green.stream.length);
    const found = [...life.people.keys()].map((k) => {
      const link = control.links.get(k) ?? { org: k, settings: k };
      const there = link.settings !== null && life.green.rows.settings.has(`${link.settings}`);
      return { seed, k, org: link.org, settings: there ? link.settings : null };
    });
    expect(found).toEqual([...life.people].map(([k, own]) => ({ seed, k, ...own })));
  }
});

test.each([
  ['of another name', 'replaced', null],
  ['of the same name', 'made anew', 3],
])(
  'a copied user whose own organisation is replaced by one %s keeps his settings row',
  (_, __, namedAfterUser) => {
    const known: Known = {
      links: new Map(),
      born: new Map(),
      users: new Set([3]),
      admins: new Map([[3, new Map([[501, true]])]]),
      orgSettings: new Map([[501, 3]]),
      dressed: new Set(),
    };
    const decided = decideLinks(
      [
        { kind: 'org', org: 501, born: true, namedAfter: namedAfterUser, plain: true },
        { kind: 'settings-moved', settings: 3, org: 501, member: false },
        { kind: 'org-settings', settings: 3, org: 501, moved: true },
        { kind: 'member', org: 501, k: 3, admin: true, constant: true },
        { kind: 'member-gone', org: 3, k: 3 },
        { kind: 'org-gone', org: 3 },
      ],
      known,
    );
    expect(decided.links.get(3)?.settings).toBe(3);
  },
);

test('only canonical names name a user', () => {
  expect(['user_1_org', 'user_2147483647_org', 'user_-1_org', 'user_0_org'].map(namedAfter)).toEqual([
    1, 2_147_483_647, -1, 0,
  ]);
  expect(
    ['user_01_org', 'user_2147483648_org', 'user_1_orgs', ' user_1_org', 'user__org', 'User_1_org'].map(
      namedAfter,
    ),
  ).toEqual([null, null, null, null, null, null]);
});

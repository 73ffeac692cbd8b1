import type { Fact } from './reverse-marks.ts';

/**
 * Whose rows are whose on green, decided purely from the stream's facts and what was known before them (DESIGN 8
 * "Link", HISTORIES 26). A copied user's own organisation and settings row carry the user's id: no link row. A user
 * born on green always has a link row; its organisation is the one named `user_{k}_org` in which it is admin at the
 * moment that was first true, and never again derived from a name: organisations are renamed.
 */
export interface Link {
  /** Null while unknown, or when it is gone. */
  readonly org: number | null;
  readonly settings: number | null;
}

export type ConstantTable = 'org' | 'user' | 'org_user' | 'settings';

/** What the database knows about the ids of the facts, read before they are decided. */
export interface Known {
  readonly links: ReadonlyMap<number, Link>;
  /** Organisations inserted while green served, with the user their first telling name named. */
  readonly born: ReadonlyMap<number, number | null>;
  /** Users that exist now. */
  readonly users: ReadonlySet<number>;
  /** Per user the organisations in which it is admin now, and whether its status there is the mapping's. */
  readonly admins: ReadonlyMap<number, ReadonlyMap<number, boolean>>;
  /** The settings row that each organisation has now. */
  readonly orgSettings: ReadonlyMap<number, number>;
  /** Organisations that now hold something in a column that the mapping leaves NULL. */
  readonly dressed: ReadonlySet<number>;
}

/** What a batch changes in `link`, `born_org` and `diverged`. */
export interface LinkChanges {
  /** Users whose link row changed; null: it goes. */
  readonly links: ReadonlyMap<number, Link | null>;
  /** Organisations whose `born_org` row changed; `gone`: it goes. */
  readonly born: ReadonlyMap<number, number | null | 'gone'>;
  readonly diverged: ReadonlyMap<ConstantTable, ReadonlySet<number>>;
  /** Users that begin anew or are gone: what was known of their constants is void. */
  readonly forgotten: ReadonlySet<number>;
  /** What the old schema has no place for, by kind and id, as far as this batch tells. */
  beyond(): ReadonlyMap<Beyond, ReadonlySet<number>>;
}

/** Kinds of facts that stay on green at a revert. Ids are those of the rows, or of the users for memberships. */
export type Beyond =
  | 'extra_organisations'
  | 'second_members'
  | 'member_settings'
  | 'changed_organisations'
  | 'changed_memberships'
  | 'user_roles'
  | 'moved_settings';

/** Decides the facts of one batch, in stream order. Deciding the same facts again changes nothing. */
export function decideLinks(facts: readonly Fact[], known: Known): LinkChanges {
  const book = new Book(known);
  for (const fact of facts) book.take(fact);
  return book;
}

const BEYOND: Readonly<Record<ConstantTable, Beyond>> = {
  org: 'changed_organisations',
  org_user: 'changed_memberships',
  user: 'user_roles',
  settings: 'moved_settings',
};

class Book implements LinkChanges {
  readonly links = new Map<number, Link | null>();
  readonly born = new Map<number, number | null | 'gone'>();
  readonly diverged = new Map<ConstantTable, Set<number>>();
  readonly forgotten = new Set<number>();
  readonly #known: Known;
  readonly #ownerOfOrg = new Map<number, number>();
  readonly #ownerOfSettings = new Map<number, number>();
  readonly #admins = new Map<number, Map<number, boolean>>();
  readonly #facts: Fact[] = [];

  constructor(known: Known) {
    this.#known = known;
    for (const [k, link] of known.links) this.#index(k, link);
    for (const [k, orgs] of known.admins) this.#admins.set(k, new Map(orgs));
  }

  take(fact: Fact): void {
    this.#facts.push(fact);
    switch (fact.kind) {
      case 'user-born':
        this.#forget(fact.k);
        this.#setLink(fact.k, { org: null, settings: null });
        this.#settleFromBorn(fact.k);
        return;
      case 'user-gone':
        this.#forget(fact.k);
        this.#setLink(fact.k, null);
        return;
      case 'user-moved': {
        const own = this.#link(fact.k) ?? { org: fact.k, settings: fact.k };
        this.#forget(fact.k);
        this.#setLink(fact.k, null);
        this.#forget(fact.to);
        this.#setLink(fact.to, own);
        // The organisation is still named after the former id.
        if (own.org !== null) this.#diverge('org', fact.to);
        return;
      }
      case 'user-role':
        this.#diverge('user', fact.k);
        return;
      case 'org':
        this.#org(fact);
        return;
      case 'org-gone': {
        const k = this.#ownOrgOf(fact.org);
        this.born.set(fact.org, 'gone');
        if (k === undefined) return;
        this.#diverge('org', k);
        // Whoever loses the organisation may get another one of that name.
        this.#setLink(k, { org: null, settings: this.#settingsOf(k) });
        return;
      }
      case 'member':
        this.#member(fact);
        return;
      case 'member-gone':
        this.#admins.get(fact.k)?.delete(fact.org);
        if (this.#isOwn(fact.k, fact.org)) this.#diverge('org_user', fact.k);
        return;
      case 'org-settings': {
        const k = this.#ownOrgOf(fact.org);
        if (k !== undefined) this.#rehome(k, fact.settings, fact.moved);
        return;
      }
      case 'settings-moved': {
        const k = this.#ownSettingsOf(fact.settings);
        if (k !== undefined && (fact.member || fact.org === null || !this.#isOwn(k, fact.org)))
          this.#diverge('settings', k);
        return;
      }
      case 'settings-gone': {
        const k = this.#ownSettingsOf(fact.settings);
        if (k !== undefined) this.#diverge('settings', k);
        return;
      }
      case 'member-settings':
        return;
      default:
        fact satisfies never;
    }
  }

  beyond(): ReadonlyMap<Beyond, ReadonlySet<number>> {
    const found = new Map<Beyond, Set<number>>();
    const add = (kind: Beyond, id: number) => found.set(kind, (found.get(kind) ?? new Set()).add(id));
    for (const fact of this.#facts) {
      // Judged at the end of the batch: who owns what may have become clear meanwhile.
      if (fact.kind === 'org' && this.#bornFor(fact.org) === null) add('extra_organisations', fact.org);
      if (fact.kind === 'member' && !this.#isOwn(fact.k, fact.org) && this.#bornFor(fact.org) !== fact.k)
        add('second_members', fact.k);
      if (fact.kind === 'member-settings') add('member_settings', fact.settings);
    }
    for (const [table, keys] of this.diverged) for (const k of keys) add(BEYOND[table], k);
    return found;
  }

  #org(fact: Extract<Fact, { kind: 'org' }>): void {
    const { org, namedAfter: k } = fact;
    if (fact.born) {
      // Nobody owned it before it was there; a replay finds what it had written and writes it again.
      const former = this.#ownerOfOrg.get(org);
      if (former !== undefined) this.#setLink(former, { org: null, settings: this.#settingsOf(former) });
      this.born.set(org, null);
    }
    // Only an organisation of green's own making can be the one of a user born on green: a copied user's, renamed to
    // a stranger's name, stays the copied user's.
    if (k !== null && this.#bornFor(org) === null && this.#ownOrgOf(org) === undefined) {
      this.born.set(org, k);
      this.#settle(k, org);
    }
    const owner = this.#ownOrgOf(org);
    if (owner !== undefined && (k !== owner || !fact.plain)) this.#diverge('org', owner);
  }

  #member(fact: Extract<Fact, { kind: 'member' }>): void {
    const orgs = this.#admins.get(fact.k) ?? new Map<number, boolean>();
    this.#admins.set(fact.k, orgs);
    if (fact.admin) orgs.set(fact.org, fact.constant);
    else orgs.delete(fact.org);
    if (this.#bornFor(fact.org) === fact.k) this.#settle(fact.k, fact.org);
    if (this.#isOwn(fact.k, fact.org) && !fact.constant) this.#diverge('org_user', fact.k);
  }

  /** An organisation that was named after `k` before `k` itself was seen. */
  #settleFromBorn(k: number): void {
    for (const [org, named] of this.#known.born) if (named === k) this.#settle(k, org);
    for (const [org, named] of this.born) if (named === k) this.#settle(k, org);
  }

  /** Writes down that `org` is `k`'s own, if `k` was born on green, has none yet, and is admin there. */
  #settle(k: number, org: number): void {
    const link = this.#link(k);
    if (!link || link.org !== null || this.#ownerOfOrg.has(org) || this.#bornFor(org) !== k) return;
    const constant = this.#admins.get(k)?.get(org);
    if (constant === undefined) return;
    this.#setLink(k, { org, settings: null });
    if (this.#known.dressed.has(org)) this.#diverge('org', k);
    if (!constant) this.#diverge('org_user', k);
    const settings = this.#known.orgSettings.get(org);
    if (settings !== undefined) this.#rehome(k, settings, false);
  }

  /**
   * The settings row of `k`'s own organisation is `settings` from here on. There is one such row at a time (unique
   * index), so the former one is gone or hangs elsewhere; whoever else it was recorded for loses it. A row that was
   * only just inserted was nobody's, and its number says nothing about a copied user's.
   */
  #rehome(k: number, settings: number, moved: boolean): void {
    const link = this.#link(k) ?? { org: k, settings: k };
    if (link.settings === settings) return;
    const former = moved ? this.#ownSettingsOf(settings) : this.#ownerOfSettings.get(settings);
    if (former !== undefined) {
      const own = this.#link(former) ?? { org: this.#ownOrgOf(former) === former ? former : null };
      this.#setLink(former, { org: own.org, settings: null });
    }
    this.#setLink(k, { org: link.org, settings });
  }

  #link(k: number): Link | undefined {
    const changed = this.links.get(k);
    return changed === undefined ? this.#known.links.get(k) : (changed ?? undefined);
  }

  #setLink(k: number, link: Link | null): void {
    const before = this.#link(k);
    if (before?.org != null) this.#ownerOfOrg.delete(before.org);
    if (before?.settings != null) this.#ownerOfSettings.delete(before.settings);
    this.links.set(k, link);
    if (link) this.#index(k, link);
  }

  #index(k: number, link: Link): void {
    if (link.org !== null) this.#ownerOfOrg.set(link.org, k);
    if (link.settings !== null) this.#ownerOfSettings.set(link.settings, k);
  }

  /** The user an organisation is named after; null: born, but not named so; undefined: not born on green. */
  #bornFor(org: number): number | null | undefined {
    const changed = this.born.get(org);
    return changed === 'gone' ? undefined : changed === undefined ? this.#known.born.get(org) : changed;
  }

  /** Whose own an organisation is: by link, or by identity for a copied user. */
  #ownOrgOf(org: number): number | undefined {
    const linked = this.#ownerOfOrg.get(org);
    if (linked !== undefined) return linked;
    return this.#bornFor(org) === undefined && this.#isCopied(org) ? org : undefined;
  }

  /**
   * The settings row of a user, which outlives the organisation: it may have moved on. A copied user's has the user's
   * id though no link says so, unless it is gone and the number has become somebody else's.
   */
  #settingsOf(k: number): number | null {
    const link = this.#link(k);
    if (link) return link.settings;
    return this.#ownerOfSettings.has(k) ? null : k;
  }

  #ownSettingsOf(settings: number): number | undefined {
    return this.#ownerOfSettings.get(settings) ?? (this.#isCopied(settings) ? settings : undefined);
  }

  #isOwn(k: number, org: number): boolean {
    const link = this.#link(k);
    return link ? link.org === org : k === org;
  }

  /**
   * A user without a link row. One that is born later in the stream but exists already passes for copied, too; what is
   * written down for it meanwhile is void at its `user-born`.
   */
  #isCopied(k: number): boolean {
    return this.#link(k) === undefined && this.#known.users.has(k) && this.links.get(k) !== null;
  }

  #diverge(table: ConstantTable, k: number): void {
    const keys = this.diverged.get(table) ?? new Set();
    keys.add(k);
    this.diverged.set(table, keys);
  }

  #forget(k: number): void {
    this.forgotten.add(k);
    for (const keys of this.diverged.values()) keys.delete(k);
  }
}

import { ADMIN_ROLE_ID, MEMBER_STATUS } from '../../src/mapping/target.ts';
import { failure } from '../errors/failure.ts';
import type { Change, Relation, Tuple, Value } from './change.ts';

/**
 * What the changes of one batch on green say, without a look at any table: which rows of blue they may concern
 * (`marks`), and, in stream order, what they say about whose rows are whose (`facts`). Pure.
 */
export interface Marks {
  /** Ids seen, each with the tables it was seen in: USER, SETTINGS, ORG. */
  readonly ids: ReadonlyMap<number, number>;
  /** Users with a delete event. Only these may be deleted on blue (HISTORIES 28). */
  readonly deleted: ReadonlySet<number>;
  readonly facts: readonly Fact[];
}

/** Bits of `Marks.ids`: which kind of id a mark is. */
export const USER = 1;
export const SETTINGS = 2;
export const ORG = 4;

/** One thing the stream says about ownership or about a constant of the mapping, in stream order. */
export type Fact =
  | { readonly kind: 'user-born'; readonly k: number }
  | { readonly kind: 'user-gone'; readonly k: number }
  /** A user's id was changed; what is the user's own stays so. */
  | { readonly kind: 'user-moved'; readonly k: number; readonly to: number }
  | { readonly kind: 'user-role'; readonly k: number }
  | {
      readonly kind: 'org';
      readonly org: number;
      readonly born: boolean;
      /** The k of `user_{k}_org`, if that is its name. */
      readonly namedAfter: number | null;
      /** Every column that the mapping leaves NULL is NULL. */
      readonly plain: boolean;
    }
  | { readonly kind: 'org-gone'; readonly org: number }
  | {
      readonly kind: 'member';
      readonly org: number;
      readonly k: number;
      readonly admin: boolean;
      /** Role and status are those the mapping gives. */
      readonly constant: boolean;
    }
  | { readonly kind: 'member-gone'; readonly org: number; readonly k: number }
  /** An organisation's settings row, as opposed to one member's; `moved`: it was another's, or a member's, before. */
  | {
      readonly kind: 'org-settings';
      readonly settings: number;
      readonly org: number;
      readonly moved: boolean;
    }
  /** Settings of one member in an organisation, or of a user in none. */
  | { readonly kind: 'member-settings'; readonly settings: number }
  /** A settings row that now hangs elsewhere than it did. */
  | {
      readonly kind: 'settings-moved';
      readonly settings: number;
      readonly org: number | null;
      readonly member: boolean;
    }
  | { readonly kind: 'settings-gone'; readonly settings: number };

const MAX_ID = 2_147_483_647;

/** @returns the k of `user_{k}_org`, or null when the name is another one. */
export function namedAfter(name: string): number | null {
  const digits = /^user_(0|-?[1-9][0-9]{0,9})_org$/.exec(name)?.[1];
  const k = digits === undefined ? Number.NaN : Number(digits);
  return k <= MAX_ID && k >= -MAX_ID - 1 ? k : null;
}

/** Reads the rows of one relation by column name; positions differ between databases. */
class Row {
  readonly #relation: Relation;
  readonly #tuple: Tuple;

  constructor(relation: Relation, tuple: Tuple) {
    this.#relation = relation;
    this.#tuple = tuple;
  }

  text(name: string): Value {
    return this.#tuple[this.#relation.columns.findIndex((c) => c.name === name)];
  }

  id(name: string): number {
    const value = this.idOrNull(name);
    if (value === null)
      throw failure('SCHEMA_CHANGED', {
        message: `a change of ${this.#relation.name} came without its ${name}`,
        expected: 'REPLICA IDENTITY FULL on every table of the org model',
        found: `replica identity ${this.#relation.identity}`,
      });
    return value;
  }

  idOrNull(name: string): number | null {
    const value = this.text(name);
    return value === null || value === undefined ? null : Number(value);
  }
}

/** Gathers marks and facts of a batch's changes, in stream order. TRUNCATE is the caller's. */
export function marksOf(changes: Iterable<Change>): Marks {
  const ids = new Map<number, number>();
  const deleted = new Set<number>();
  const facts: Fact[] = [];
  const mark = (id: number | null, bit: number): void => {
    if (id !== null) ids.set(id, (ids.get(id) ?? 0) | bit);
  };
  for (const change of changes) {
    if (change.kind === 'truncate') continue;
    const { relation } = change;
    const after = change.kind === 'delete' ? undefined : new Row(relation, change.row);
    const before =
      change.kind === 'insert' || change.old === undefined ? undefined : new Row(relation, change.old);
    const images = [before, after].filter((row) => row !== undefined);
    switch (relation.name) {
      case 'user':
        for (const row of images) mark(row.id('id'), USER);
        userFacts(before, after, facts, deleted);
        break;
      case 'org':
        for (const row of images) mark(row.id('id'), ORG);
        orgFacts(before, after, facts);
        break;
      case 'org_user':
        for (const row of images) mark(row.id('user_id'), USER);
        memberFacts(before, after, facts);
        break;
      case 'settings':
        for (const row of images) {
          mark(row.id('id'), SETTINGS);
          if (row.idOrNull('user_id') === null) mark(row.idOrNull('org_id'), ORG);
        }
        settingsFacts(before, after, facts);
        break;
      // A role has no home in the old schema; whoever has one is not the own admin of an own organisation.
      case 'role':
        break;
      default:
        throw failure('SCHEMA_CHANGED', { expected: 'a table of the org model', found: relation.name });
    }
  }
  return { ids, deleted, facts };
}

/** An update that moves a primary key is a delete and an insert. */
function moved(before: Row | undefined, after: Row | undefined, key: readonly string[]): boolean {
  return !before || !after || key.some((name) => before.text(name) !== after.text(name));
}

function changed(before: Row | undefined, after: Row, columns: readonly string[]): boolean {
  return !before || columns.some((name) => before.text(name) !== after.text(name));
}

function userFacts(
  before: Row | undefined,
  after: Row | undefined,
  facts: Fact[],
  deleted: Set<number>,
): void {
  const isMoved = moved(before, after, ['id']);
  if (before && isMoved) deleted.add(before.id('id'));
  if (before && after && isMoved) facts.push({ kind: 'user-moved', k: before.id('id'), to: after.id('id') });
  else if (before && isMoved) facts.push({ kind: 'user-gone', k: before.id('id') });
  else if (after && isMoved) facts.push({ kind: 'user-born', k: after.id('id') });
  if (after && after.text('role_id') !== null && changed(isMoved ? undefined : before, after, ['role_id']))
    facts.push({ kind: 'user-role', k: after.id('id') });
}

const PLAIN = ['contact_name', 'contact_email', 'conversation_expiration'] as const;

function orgFacts(before: Row | undefined, after: Row | undefined, facts: Fact[]): void {
  const isMoved = moved(before, after, ['id']);
  if (before && isMoved) facts.push({ kind: 'org-gone', org: before.id('id') });
  if (after && changed(isMoved ? undefined : before, after, ['name', ...PLAIN]))
    facts.push({
      kind: 'org',
      org: after.id('id'),
      born: isMoved,
      namedAfter: namedAfter(after.text('name') ?? ''),
      plain: PLAIN.every((name) => after.text(name) === null),
    });
}

function memberFacts(before: Row | undefined, after: Row | undefined, facts: Fact[]): void {
  const isMoved = moved(before, after, ['org_id', 'user_id']);
  if (before && isMoved)
    facts.push({ kind: 'member-gone', org: before.id('org_id'), k: before.id('user_id') });
  if (!after || !changed(isMoved ? undefined : before, after, ['role_id', 'status'])) return;
  const admin = after.id('role_id') === ADMIN_ROLE_ID;
  facts.push({
    kind: 'member',
    org: after.id('org_id'),
    k: after.id('user_id'),
    admin,
    constant: admin && after.text('status') === MEMBER_STATUS,
  });
}

function settingsFacts(before: Row | undefined, after: Row | undefined, facts: Fact[]): void {
  const isMoved = moved(before, after, ['id']);
  if (before && isMoved) facts.push({ kind: 'settings-gone', settings: before.id('id') });
  if (!after || !changed(isMoved ? undefined : before, after, ['org_id', 'user_id'])) return;
  const settings = after.id('id');
  const org = after.idOrNull('org_id');
  const member = after.idOrNull('user_id') !== null;
  if (!isMoved) facts.push({ kind: 'settings-moved', settings, org, member });
  if (!member && org !== null) facts.push({ kind: 'org-settings', settings, org, moved: !isMoved });
  if (member) facts.push({ kind: 'member-settings', settings });
}

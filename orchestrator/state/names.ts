import { createHash } from 'node:crypto';
import { ident, qualified } from '../../src/mapping/identifier.ts';
import type { Relations } from '../../src/mapping/sql.ts';
import type { Direction, Side } from '../pg/side.ts';

/** Every name this migration puts on a server; the migration's own name is in each of them. */
export interface Names {
  readonly migration: string;
  /** Slot of the stream that leaves each side; it lives on that side. */
  readonly slot: Readonly<Record<Side, string>>;
  readonly publication: Readonly<Record<Side, string>>;
  /** Prefix of logical messages of ours: barriers, canaries, marks, heartbeats. */
  readonly messagePrefix: string;
  /** Key of the advisory lock that is the runner's lease, as a signed 64-bit number in text. */
  readonly leaseLock: string;
}

/** Schemas of the application's tables, where they are not `public`. */
export interface Schemas {
  readonly source: string;
  readonly org: string;
}

/** Slot names allow only [a-z0-9_] and 63 bytes; a short hash keeps two odd names apart. */
function slug(migration: string): string {
  const plain = migration.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_');
  const hash = createHash('sha256').update(migration).digest('hex').slice(0, 8);
  return plain === migration.replaceAll('-', '_') && plain.length <= 30
    ? plain
    : `${plain.slice(0, 30)}_${hash}`;
}

/** @returns the names of a migration, the same ones every time. */
export function namesOf(migration: string): Names {
  const s = slug(migration);
  return {
    migration,
    slot: { blue: `orchestrate_${s}_blue`, green: `orchestrate_${s}_green` },
    publication: { blue: `orchestrate_${s}_blue`, green: `orchestrate_${s}_green` },
    messagePrefix: `orchestrate:${migration}`,
    leaseLock: BigInt.asIntN(
      64,
      BigInt(`0x${createHash('sha256').update(`lease:${migration}`).digest('hex').slice(0, 16)}`),
    ).toString(),
  };
}

/** The application's tables on each side: what a fence closes and a publication publishes. */
export function tablesOf(side: Side, schemas: Schemas): readonly { schema: string; name: string }[] {
  return side === 'blue'
    ? [{ schema: schemas.source, name: 'user_settings' }]
    : ['role', 'org', 'user', 'org_user', 'settings'].map((name) => ({ schema: schemas.org, name }));
}

/** @returns quoted, qualified names of all relations. */
export function relationsOf(schemas: Schemas): Relations {
  const org = (table: string) => qualified(schemas.org, table);
  return {
    userSettings: qualified(schemas.source, 'user_settings'),
    role: org('role'),
    org: org('org'),
    user: org('user'),
    orgUser: org('org_user'),
    settings: org('settings'),
    parked: `${ident('orchestrator')}.${ident('parked')}`,
    link: `${ident('orchestrator')}.${ident('link')}`,
  };
}

/** @returns the name of a direction's slot. */
export function slotOf(names: Names, direction: Direction): string {
  return names.slot[direction === 'forward' ? 'blue' : 'green'];
}

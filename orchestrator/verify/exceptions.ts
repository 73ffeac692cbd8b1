import type { ClientBase } from 'pg';
import type { ParkReason } from '../../src/mapping/columns.ts';
import { type Scope, scopeSql, scopeValues } from './scope.ts';

/** What green's control schema says about the users of a scope: who is parked, and where the mapping has exceptions. */
export interface Exceptions {
  readonly parked: readonly { readonly id: number; readonly reason: ParkReason }[];
  readonly link: readonly {
    readonly k: number;
    readonly org_id: number | null;
    readonly settings_id: number | null;
  }[];
  readonly diverged: readonly { readonly table_name: string; readonly k: number }[];
}

const parkedSql = (kind: Scope['kind']) => `
  SELECT "id" AS id, reason
  FROM orchestrator.parked
  WHERE ${scopeSql(kind, '"id"', 1)}`;

const linkSql = (kind: Scope['kind']) => `
  SELECT k, org_id, settings_id
  FROM orchestrator.link
  WHERE ${scopeSql(kind, 'k', 1)}`;

const divergedSql = (kind: Scope['kind']) => `
  SELECT table_name, k
  FROM orchestrator.diverged
  WHERE ${scopeSql(kind, 'k', 1)}`;

/**
 * Reads a scope's exceptions from green.
 * @param first before the first decision the mapping has no exceptions: link and diverged are not looked at.
 */
export async function readExceptions(green: ClientBase, scope: Scope, first: boolean): Promise<Exceptions> {
  const values = scopeValues(scope);
  const parked = await green.query<Exceptions['parked'][number]>(parkedSql(scope.kind), values);
  if (first) return { parked: parked.rows, link: [], diverged: [] };
  const link = await green.query<Exceptions['link'][number]>(linkSql(scope.kind), values);
  const diverged = await green.query<Exceptions['diverged'][number]>(divergedSql(scope.kind), values);
  return { parked: parked.rows, link: link.rows, diverged: diverged.rows };
}

/** @returns the parameters that name the exceptions on blue. */
export function blueValues(e: Exceptions): unknown[] {
  return [e.parked.map((p) => p.id)];
}

/** @returns the parameters that name the exceptions on green, in the order green's statements expect. */
export function ownValues(e: Exceptions): unknown[] {
  const diverged = (table: string) => e.diverged.filter((d) => d.table_name === table).map((d) => d.k);
  return [
    e.link.map((l) => l.k),
    e.link.map((l) => l.org_id),
    e.link.map((l) => l.settings_id),
    diverged('org'),
    diverged('user'),
    diverged('org_user'),
    diverged('settings'),
  ];
}

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
  SELECT 'parked' AS what, "id" AS k, reason AS name, NULL::integer AS org_id, NULL::integer AS settings_id
  FROM orchestrator.parked
  WHERE ${scopeSql(kind, '"id"', 1)}`;

/** One statement: inside the freeze every answer that is waited for is felt. */
const exceptionsSql = (kind: Scope['kind']) => `${parkedSql(kind)}
  UNION ALL
  SELECT 'link', k, NULL, org_id, settings_id
  FROM orchestrator.link
  WHERE ${scopeSql(kind, 'k', 1)}
  UNION ALL
  SELECT 'diverged', k, table_name, NULL, NULL
  FROM orchestrator.diverged
  WHERE ${scopeSql(kind, 'k', 1)}`;

interface Row {
  readonly what: keyof Exceptions;
  readonly k: number;
  /** Why parked, or the table that diverged. */
  readonly name: string | null;
  readonly org_id: number | null;
  readonly settings_id: number | null;
}

/**
 * Reads a scope's exceptions from green.
 * @param first before the first decision the mapping has no exceptions: link and diverged are not looked at.
 */
export async function readExceptions(green: ClientBase, scope: Scope, first: boolean): Promise<Exceptions> {
  const sql = first ? parkedSql(scope.kind) : exceptionsSql(scope.kind);
  const { rows } = await green.query<Row>(sql, scopeValues(scope));
  const of = (what: Row['what']) => rows.filter((row) => row.what === what);
  return {
    parked: of('parked').map((row) => ({ id: row.k, reason: row.name as ParkReason })),
    link: of('link'),
    diverged: of('diverged').map((row) => ({ table_name: row.name ?? '', k: row.k })),
  };
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

import type pg from 'pg';
import { type Lsn, parseLsn } from '../pg/lsn.ts';

/** What the server says about one logical slot. */
export interface SlotInfo {
  readonly name: string;
  readonly plugin: string;
  readonly database: string;
  /** `reserved`, `extended`, `unreserved` or `lost`; null when nothing is reserved. */
  readonly walStatus: string | null;
  readonly confirmedFlushLsn: Lsn;
  readonly restartLsn: Lsn | null;
  readonly retainedBytes: bigint;
  /** How much more WAL may be written before the slot is in danger; undefined when there is no limit. */
  readonly safeWalBytes: bigint | undefined;
  readonly active: boolean;
  readonly activePid: number | null;
  /** Once lost, always lost: the status can read `unreserved` again afterwards (FIELD-NOTES A). */
  readonly lost: boolean;
}

/** `invalidation_reason` exists from 17 on; read through jsonb one statement serves every version. */
const INSPECT = `
  SELECT s.plugin::text,
         s.database::text,
         s.wal_status,
         s.confirmed_flush_lsn::text AS confirmed,
         s.restart_lsn::text AS restart,
         greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint::text AS retained,
         s.safe_wal_size::text AS safe,
         s.active,
         s.active_pid,
         (to_jsonb(s) ->> 'invalidation_reason') IS NOT NULL AS invalidated
  FROM pg_replication_slots AS s
  WHERE s.slot_name = $1 AND s.slot_type = 'logical'`;

interface Row {
  readonly plugin: string;
  readonly database: string;
  readonly wal_status: string | null;
  readonly confirmed: string | null;
  readonly restart: string | null;
  readonly retained: string | null;
  readonly safe: string | null;
  readonly active: boolean;
  readonly active_pid: number | null;
  readonly invalidated: boolean;
}

const lostSlots = new Set<string>();

const identity = (client: pg.ClientBase, name: string): string => {
  const { host, port, database } = client as pg.Client & { database?: string };
  return `${host}:${port}/${database ?? ''} ${name}`;
};

/** A slot of that name was made or dropped: what was known of its predecessor is void. */
export function forgetLost(client: pg.ClientBase, name: string): void {
  lostSlots.delete(identity(client, name));
}

/** @returns the slot, or null when there is none of that name. */
export async function inspectSlot(client: pg.ClientBase, name: string): Promise<SlotInfo | null> {
  const { rows } = await client.query<Row>(INSPECT, [name]);
  const row = rows[0];
  if (row === undefined) return null;
  if (row.wal_status === 'lost' || row.invalidated) lostSlots.add(identity(client, name));
  return {
    name,
    plugin: row.plugin,
    database: row.database,
    walStatus: row.wal_status,
    confirmedFlushLsn: row.confirmed === null ? 0n : parseLsn(row.confirmed),
    restartLsn: row.restart === null ? null : parseLsn(row.restart),
    retainedBytes: row.retained === null ? 0n : BigInt(row.retained),
    safeWalBytes: row.safe === null ? undefined : BigInt(row.safe),
    active: row.active,
    activePid: row.active_pid,
    lost: lostSlots.has(identity(client, name)),
  };
}

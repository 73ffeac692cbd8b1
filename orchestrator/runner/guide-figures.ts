import type pg from 'pg';
import { SIDES, type Side } from '../pg/side.ts';
import type { GuideFigures } from '../state/documents.ts';
import type { ObservationBody } from '../state/observation.ts';

const COST = `
  SELECT pg_database_size(current_database())::text AS bytes,
         CASE WHEN to_regclass('orchestrator.fence_refused') IS NOT NULL
           THEN coalesce(pg_sequence_last_value(to_regclass('orchestrator.fence_refused')), 0)::text END AS refused`;

/** From the first entry of the journal until both sides were in sync. */
const TOOK = `
  SELECT extract(epoch FROM min(j.at) FILTER (WHERE j.event = 'state' AND j.detail ->> 'to' = 'syncing') - min(j.at))
           ::double precision AS seconds
  FROM orchestrator.journal AS j
  WHERE j.migration = $1`;

/**
 * What the migration guide asks to be watched: how long the migration took, what it does to the size of the databases,
 * how quickly the new tables answer, and what the application was refused in the transition (freezes included).
 */
export async function guideFigures(
  clients: Partial<Record<Side, pg.Client>>,
  migration: string,
  seen: ObservationBody | null,
): Promise<GuideFigures> {
  const database_bytes: Record<Side, number | null> = { blue: null, green: null };
  const refused_writes: Record<Side, number | null> = { blue: null, green: null };
  for (const side of SIDES) {
    const cost = (await clients[side]?.query<{ bytes: string; refused: string | null }>(COST))?.rows[0];
    if (cost === undefined) continue;
    database_bytes[side] = Number(cost.bytes);
    refused_writes[side] = cost.refused === null ? null : Number(cost.refused);
  }
  const took = (await clients.green?.query<{ seconds: number | null }>(TOOK, [migration]))?.rows[0];
  return {
    migration_seconds: took?.seconds ?? null,
    database_bytes,
    query_seconds: seen?.query_seconds ?? { blue: null, green: null },
    refused_writes,
  };
}

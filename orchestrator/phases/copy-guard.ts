import type pg from 'pg';
import { type CopyLimits, reasonToWait } from '../copy/guard.ts';
import { discard } from '../copy/session.ts';
import { connect } from '../pg/connect.ts';
import type { Context } from '../state/context.ts';
import { inspectSlot } from '../stream/slot.ts';

/** Sessions of ours hold the copy's own snapshot; they are not what it should wait for. */
const OLDEST = `
  SELECT (extract(epoch FROM max(clock_timestamp() - xact_start)) * 1000)::double precision AS age_ms
  FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND application_name NOT LIKE 'orchestrate/%'`;

/**
 * Standbys and subscribers of blue that are not ours: reading a whole table takes the disk and the network they live on.
 * To a role that may not see others' sessions all of it is NULL, and nothing is known.
 */
const REPLICA_LAG = `
  SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(replay_lsn, flush_lsn, sent_lsn)))::text AS bytes,
         pg_has_role('pg_read_all_stats', 'USAGE') AS visible
  FROM pg_stat_replication
  WHERE application_name NOT LIKE 'orchestrate/%'`;

const LOOK_EVERY_MS = 2_000;

/**
 * Looks at blue every two seconds while rows are copied.
 * @returns a function for `shouldPause`: a reason to wait, or undefined. Costs nothing where no limit is set; a look that
 *   fails holds nothing up, because the copy itself will fail on a blue that is not there.
 */
export function copyGuard(ctx: Context, limits: CopyLimits): () => Promise<string | undefined> {
  if (Object.values(limits).every((limit) => limit === null)) return async () => undefined;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let looking: Promise<string | undefined> = Promise.resolve(undefined);
  let warned = false;
  const blind = (): void => {
    if (warned || (limits.transactionAgeMs === null && limits.replicaLagBytes === null)) return;
    warned = true;
    ctx.log.warn(
      { expected: 'GRANT pg_read_all_stats TO the sync role, on blue' },
      "other roles' transactions and replicas are hidden: the copy cannot wait for them",
    );
  };
  return () => {
    if (performance.now() - lookedAt < LOOK_EVERY_MS) return looking;
    lookedAt = performance.now();
    looking = look(ctx, limits, blind).catch((error: unknown) => {
      ctx.log.warn({ err: error }, 'blue could not be looked at');
      return undefined;
    });
    return looking;
  };
}

async function look(ctx: Context, limits: CopyLimits, blind: () => void): Promise<string | undefined> {
  let blue: pg.Client | undefined;
  try {
    blue = await connect(ctx.endpoints.blue, {
      purpose: 'copy-watch',
      settings: { statement_timeout: '5s' },
    });
    const { rows } = await blue.query<{ age_ms: number | null }>(OLDEST);
    const { rows: replicas } = await blue.query<{ bytes: string | null; visible: boolean }>(REPLICA_LAG);
    if (!replicas[0]?.visible) blind();
    const lag = replicas[0]?.bytes ?? undefined;
    const slot = await inspectSlot(blue, ctx.names.slot.blue);
    return reasonToWait(limits, {
      transactionAgeMs: rows[0]?.age_ms ?? undefined,
      retainedWalBytes: slot === null ? undefined : BigInt(slot.retainedBytes),
      replicaLagBytes: lag === undefined ? undefined : BigInt(lag),
    });
  } finally {
    await discard(blue);
  }
}

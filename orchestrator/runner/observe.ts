import type pg from 'pg';
import { qualified } from '../../src/mapping/identifier.ts';
import { readFence } from '../fence/fence.ts';
import type { RegistryMetrics } from '../metrics/registry.ts';
import { setState } from '../metrics/states.ts';
import { createPool } from '../pg/connect.ts';
import { otherSide, SIDES, type Side } from '../pg/side.ts';
import { tablesOf } from '../state/names.ts';
import type { ObservationBody } from '../state/observation.ts';
import { inspectSlot } from '../stream/slot.ts';
import { probe, probeKey } from '../verify/probe.ts';
import type { Runner } from './runner.ts';

const LOOK_EVERY_MS = 2_000;
/** So many looks in a row have to fail before what was seen of a side is taken back: one lost look is no outage. */
const MISSES = 3;

/** One side at a glance; its own rows of the control schema are read with it. */
const SIDE = `
  SELECT (SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::double precision
          FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND application_name NOT LIKE 'orchestrate/%') AS oldest,
         pg_database_size(current_database()) AS size,
         (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM orchestrator.fence_refused) AS refused,
         (SELECT extract(epoch FROM max(decided_at))::double precision FROM orchestrator.decision) AS decided`;

const SESSION_STATES = ['active', 'idle', 'idle in transaction', 'other'] as const;

/** Our own sessions on a server: what we take of its max_connections. */
const SESSIONS = `
  SELECT s.state, count(a.pid)::integer AS n
  FROM unnest($1::text[]) AS s(state)
  LEFT JOIN pg_stat_activity AS a
    ON a.datname = current_database() AND a.application_name LIKE 'orchestrate/%'
   AND s.state = CASE WHEN a.state IN ('active', 'idle', 'idle in transaction') THEN a.state ELSE 'other' END
  GROUP BY s.state`;

/** When a rehearsal of a handover last ended in each way it can. */
const REHEARSALS = `
  SELECT detail ->> 'outcome' AS outcome, extract(epoch FROM max(at))::double precision AS at
  FROM orchestrator.journal
  WHERE migration = $1 AND event = 'handover' AND (detail ->> 'rehearsal')::boolean
  GROUP BY 1`;

/**
 * Looks at both sides every two seconds: for the metrics, and, as one row on green, for `status`. It only reads what
 * the work has done; it decides nothing, and losing it costs nothing.
 */
export class Observer {
  private readonly runner: Runner;
  private readonly pools: Readonly<Record<Side, pg.Pool>>;
  private readonly timer: NodeJS.Timeout;
  private looking: Promise<void> = Promise.resolve();
  private busy = false;

  constructor(runner: Runner) {
    this.runner = runner;
    const pool = (side: Side) =>
      createPool(runner.ctx.endpoints[side], {
        purpose: 'observe',
        max: 1,
        settings: { statement_timeout: '5s' },
      });
    this.pools = { blue: pool('blue'), green: pool('green') };
    this.timer = setInterval(() => {
      if (this.busy) return;
      this.busy = true;
      this.looking = this.look().finally(() => {
        this.busy = false;
      });
    }, LOOK_EVERY_MS);
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    await this.looking;
    if (!this.runner.controlGone) await this.storeCounters().catch(() => {});
    await Promise.all(SIDES.map((side) => this.pools[side].end().catch(() => {})));
  }

  private async look(): Promise<void> {
    const { metrics, ctx } = this.runner;
    metrics.set('leader', {}, this.runner.lease.signal.aborted ? 0 : 1);
    for (const side of SIDES)
      await this.lookAt(side).catch((error: unknown) => {
        this.missed[side] += 1;
        if (this.missed[side] === MISSES) this.forget(side);
        ctx.log.debug({ side, code: (error as { code?: string }).code }, 'a side could not be observed');
      });
    await this.remember().catch(() => {});
  }

  private async lookAt(side: Side): Promise<void> {
    const { metrics, ctx, sync } = this.runner;
    const pool = this.pools[side];
    const client = await pool.connect();
    try {
      const slot = await inspectSlot(client, ctx.names.slot[side]);
      const labels = { side, slot: ctx.names.slot[side] };
      metrics.set('slot_retained_wal_bytes', labels, slot ? Number(slot.retainedBytes) : undefined);
      metrics.set(
        'slot_safe_wal_bytes',
        labels,
        slot?.safeWalBytes === undefined ? undefined : Number(slot.safeWalBytes),
      );
      setState(metrics, 'slot_wal_status', labels, slot?.walStatus ?? undefined);
      const { rows } = await client.query<{
        oldest: number | null;
        size: string;
        refused: string;
        decided: number | null;
      }>(SIDE);
      metrics.set('oldest_transaction_age_seconds', { side }, rows[0]?.oldest ?? 0);
      metrics.set('database_size_bytes', { side }, Number(rows[0]?.size));
      this.refused(side, Number(rows[0]?.refused ?? 0));
      this.decided[side] = rows[0]?.decided ?? undefined;
      metrics.set('decision_timestamp_seconds', {}, newest(this.decided));
      const { rows: sessions } = await client.query<{ state: string; n: number }>(SESSIONS, [SESSION_STATES]);
      for (const { state, n } of sessions) metrics.set('pool_connections', { side, state }, n);
      const fence = await readFence(client, ctx, side);
      setState(metrics, 'fence_state', { side }, fence.state === 'lapsed' ? 'open' : fence.state);
      if (sync) metrics.set('serving_side', { side }, sync.serving === side ? 1 : 0);
      for (const table of tablesOf(side, ctx.schemas)) {
        const { rows: estimate } = await client.query<{ n: number }>(
          'SELECT greatest(reltuples, 0)::double precision AS n FROM pg_class WHERE oid = to_regclass($1)',
          [qualified(table.schema, table.name)],
        );
        metrics.set('table_rows', { side, table: table.name }, estimate[0]?.n);
      }
      if (side === 'green') await this.lookAtGreen(client);
      await this.ask(side, client);
      this.missed[side] = 0;
    } finally {
      client.release();
    }
  }

  /** The same question through both schemas, once the new one has its indexes. */
  private async ask(side: Side, client: pg.PoolClient): Promise<void> {
    const { metrics, ctx, sync } = this.runner;
    if (sync === undefined) return;
    if (side === 'green') this.key ??= await probeKey(client, ctx.relations);
    if (this.key === undefined) return;
    const seconds = await probe(client, ctx.relations, side === 'blue' ? 'old' : 'new', this.key);
    metrics.set('query_probe_duration_seconds', { side, query: 'settings' }, seconds);
    this.answered[side] = seconds;
  }

  /** Unknown is absent, never the last known value. */
  private forget(side: Side): void {
    const { metrics, ctx } = this.runner;
    const slot = { side, slot: ctx.names.slot[side] };
    for (const name of ['oldest_transaction_age_seconds', 'database_size_bytes'] as const)
      metrics.set(name, { side }, undefined);
    for (const name of ['slot_retained_wal_bytes', 'slot_safe_wal_bytes'] as const)
      metrics.set(name, slot, undefined);
    setState(metrics, 'slot_wal_status', slot, undefined);
    setState(metrics, 'fence_state', { side }, undefined);
    for (const { name } of tablesOf(side, ctx.schemas))
      metrics.set('table_rows', { side, table: name }, undefined);
    metrics.set('query_probe_duration_seconds', { side, query: 'settings' }, undefined);
    this.answered[side] = null;
    for (const state of SESSION_STATES) metrics.set('pool_connections', { side, state }, undefined);
  }

  private async lookAtGreen(client: pg.PoolClient): Promise<void> {
    const { metrics, ctx } = this.runner;
    const { rows: parked } = await client.query<{ reason: string; n: number }>(
      `SELECT r.reason, count(p.id)::integer AS n
       FROM unnest(ARRAY['null_key', 'empty_key', 'duplicate']) AS r(reason)
       LEFT JOIN orchestrator.parked AS p ON p.reason = r.reason
       GROUP BY r.reason`,
    );
    for (const { reason, n } of parked) metrics.set('parked_rows', { reason }, n);
    const { rows: run } = await client.query<{ phase: string; since: number }>(
      'SELECT phase, extract(epoch FROM since)::double precision AS since FROM orchestrator.run WHERE migration = $1',
      [ctx.names.migration],
    );
    setState(metrics, 'phase', {}, run[0]?.phase ?? 'created');
    if (!this.rehearsalsRead) {
      const { rows: rehearsals } = await client.query<{ outcome: string; at: number }>(REHEARSALS, [
        ctx.names.migration,
      ]);
      // Later ones are set by the handover itself.
      for (const { outcome, at } of rehearsals)
        metrics.set('rehearsal_last_timestamp_seconds', { outcome }, at);
      this.rehearsalsRead = true;
    }
    if (run[0]) metrics.set('phase_start_timestamp_seconds', { phase: run[0].phase }, run[0].since);
  }

  private key: string | undefined;
  private readonly answered: Record<Side, number | null> = { blue: null, green: null };
  private readonly seen: Partial<Record<Side, { total: number; serving: boolean }>> = {};
  private readonly decided: Partial<Record<Side, number | undefined>> = {};
  private readonly missed: Record<Side, number> = { blue: 0, green: 0 };
  private rehearsalsRead = false;

  private refused(side: Side, total: number): void {
    const before = this.seen[side];
    const serving = this.runner.sync?.serving === side;
    this.seen[side] = { total, serving };
    // A side that serves refuses in a freeze only; so does one that served until now. Neither is a stray writer's.
    if (before !== undefined && total > before.total && !serving && !before.serving)
      this.runner.metrics.add('standby_writes_refused_total', { side }, total - before.total);
  }

  private async remember(): Promise<void> {
    const { ctx, sync, metrics, paused, judged } = this.runner;
    const status = sync?.applier.status;
    const body: ObservationBody = {
      lag_seconds: status?.lagSeconds ?? null,
      lag_bytes: status?.lagBytes === undefined ? null : Number(status.lagBytes),
      connected: status?.connected ?? null,
      errors: status === undefined ? null : Number(status.error !== undefined),
      delta_keys: sync && !sync.applier.delta.lost ? (sync.applier.delta.size ?? null) : null,
      delta_lost: sync?.applier.delta.lost ?? null,
      changes_per_second: this.rate(status?.appliedChanges),
      gates: judged?.gates ?? [],
      predicted_seconds: judged?.predictedSeconds ?? null,
      budget_seconds: judged?.budgetSeconds ?? null,
      paused,
      query_seconds: { ...this.answered },
    };
    metrics.set('verify_delta_keys', {}, body.delta_keys ?? undefined);
    if (sync) metrics.set('serving_side', { side: otherSide(sync.serving) }, 0);
    await this.pools.green.query(
      `INSERT INTO orchestrator.observation (migration, at, body)
       VALUES ($1, clock_timestamp(), $2::jsonb)
       ON CONFLICT (migration) DO UPDATE SET at = excluded.at, body = excluded.body`,
      [ctx.names.migration, JSON.stringify(body)],
    );
    await this.storeCounters();
  }

  private before: { changes: number; at: number } | undefined;

  /** Changes applied a second since the last look; null when that is not known. */
  private rate(changes: number | undefined): number | null {
    const at = performance.now();
    const before = this.before;
    this.before = changes === undefined ? undefined : { changes, at };
    if (before === undefined || changes === undefined || changes < before.changes) return null;
    return ((changes - before.changes) * 1000) / (at - before.at);
  }

  private async storeCounters(): Promise<void> {
    const { metrics } = this.runner;
    if (!('snapshot' in metrics)) return;
    const rows = (metrics as RegistryMetrics).snapshot();
    if (rows.length === 0) return;
    await this.pools.green.query(
      `INSERT INTO orchestrator.counter (name, labels, value)
       SELECT c.name, c.labels, c.value
       FROM jsonb_to_recordset($1::jsonb) AS c(name text, labels jsonb, value double precision)
       ON CONFLICT (name, labels) DO UPDATE SET value = excluded.value`,
      [JSON.stringify(rows)],
    );
  }
}

/** The newest decision of both sides; undefined when there is none. */
function newest(decided: Partial<Record<Side, number | undefined>>): number | undefined {
  const known = Object.values(decided).filter((at) => at !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}

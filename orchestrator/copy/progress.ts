import type { ClientBase } from 'pg';
import type { Context } from '../state/context.ts';

/** How far the copy is, as the chunks on green say: it survives every restart. */
export interface CopyProgress {
  readonly rowsDone: number;
  /** Rows of finished chunks and the planned size of the others; null before anything is planned. */
  readonly rowsExpected: number | null;
  readonly bytes: number;
  readonly chunksDone: number;
  readonly chunks: number;
  /** Rows a second over the last chunks; null when unknown or finished. */
  readonly rate: number | null;
  /** When the copy is expected to end, ISO 8601 by green's clock; null when unknown or finished. */
  readonly eta: string | null;
  readonly etaSeconds: number | null;
}

/**
 * The rate looks at the last 16 chunks, from the first of them to now: a copy that stands still gets slower by the
 * second instead of showing its last good moment. Without a plan there is nothing to say.
 */
const READ = `
  WITH copy AS (
    SELECT status, rows, bytes, finished_at, (detail ->> 'expected')::bigint AS expected
    FROM orchestrator.chunk
    WHERE task = 'copy'
  ), recent AS (
    SELECT rows, finished_at, row_number() OVER (ORDER BY finished_at) AS place
    FROM (SELECT rows, finished_at FROM copy WHERE status = 'done' ORDER BY finished_at DESC LIMIT 16) AS r
  ), total AS (
    SELECT coalesce(sum(rows) FILTER (WHERE status = 'done'), 0) AS done,
           coalesce(sum(expected) FILTER (WHERE status = 'pending'), 0) AS pending,
           coalesce(sum(bytes) FILTER (WHERE status = 'done'), 0) AS bytes,
           count(*) FILTER (WHERE status = 'done') AS chunks_done,
           count(*) AS chunks
    FROM copy
  ), speed AS (
    SELECT (sum(rows) FILTER (WHERE place > 1))
             / nullif(extract(epoch FROM clock_timestamp() - min(finished_at)), 0) AS rate
    FROM recent
  )
  SELECT t.done::text, (t.done + t.pending)::text AS expected, t.bytes::text, t.chunks_done::integer,
         t.chunks::integer,
         CASE WHEN t.pending > 0 THEN s.rate::double precision END AS rate,
         CASE WHEN t.pending > 0 AND s.rate > 0 THEN (t.pending / s.rate)::double precision END AS eta_seconds,
         CASE WHEN t.pending > 0 AND s.rate > 0 THEN
           to_char((clock_timestamp() + least(t.pending / s.rate, 1e9) * interval '1 second') AT TIME ZONE 'UTC',
                   'YYYY-MM-DD"T"HH24:MI:SS"Z"')
         END AS eta
  FROM total AS t, speed AS s`;

const HAS_CHUNKS = `SELECT to_regclass('orchestrator.chunk') IS NOT NULL AS found`;

const NOTHING: CopyProgress = {
  rowsDone: 0,
  rowsExpected: null,
  bytes: 0,
  chunksDone: 0,
  chunks: 0,
  rate: null,
  eta: null,
  etaSeconds: null,
};

/** Reads the progress from any session on green, also before there is anything to read. */
export async function readCopyProgress(
  green: ClientBase,
  _ctx?: Pick<Context, 'names'>,
): Promise<CopyProgress> {
  const { rows: has } = await green.query<{ found: boolean }>(HAS_CHUNKS);
  if (!has[0]?.found) return NOTHING;
  const { rows } = await green.query<{
    done: string;
    expected: string;
    bytes: string;
    chunks_done: number;
    chunks: number;
    rate: number | null;
    eta: string | null;
    eta_seconds: number | null;
  }>(READ);
  const row = rows[0];
  if (row === undefined || row.chunks === 0) return NOTHING;
  return {
    rowsDone: Number(row.done),
    rowsExpected: Number(row.expected),
    bytes: Number(row.bytes),
    chunksDone: row.chunks_done,
    chunks: row.chunks,
    rate: row.rate,
    eta: row.eta,
    etaSeconds: row.eta_seconds,
  };
}

const BY_TABLE = `
  SELECT t.key AS "table", sum(t.value::bigint)::text AS rows
  FROM orchestrator.chunk AS c, jsonb_each_text(c.detail -> 'tables') AS t
  WHERE c.task = 'copy' AND c.status = 'done'
  GROUP BY t.key`;

/** Sets the progress gauges from the chunks on green. */
export async function reportCopyProgress(green: ClientBase, ctx: Context): Promise<CopyProgress> {
  const progress = await readCopyProgress(green);
  const { rows } = await green.query<{ table: string; rows: string }>(BY_TABLE);
  const done = new Map(rows.map((r) => [r.table, Number(r.rows)]));
  const grow = progress.rowsDone > 0 ? (progress.rowsExpected ?? 0) / progress.rowsDone : undefined;
  for (const table of ['org', 'user', 'org_user', 'settings', 'parked']) {
    const tableDone = done.get(table) ?? 0;
    ctx.metrics.set('copy_rows_done', { table }, tableDone);
    // The share of parked rows is only known from the chunks that are done.
    ctx.metrics.set(
      'copy_rows_expected',
      { table },
      grow === undefined ? undefined : Math.round(tableDone * grow),
    );
  }
  ctx.metrics.set(
    'copy_completion_timestamp_seconds',
    {},
    progress.eta === null ? undefined : Date.parse(progress.eta) / 1_000,
  );
  return progress;
}

import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { createOrgTables } from '../../../migrations/056-create-org-tables.ts';
import { restoreForeignKeys, setForeignKeysAside } from '../../../migrations/in-place/foreign-keys.ts';
import { beginInPlace } from '../../../migrations/in-place/progress.ts';
import { statementsOf } from '../../../migrations/in-place/statements.ts';
import { type RunQuery, tablesOwner } from '../../../migrations/session.ts';
import { SOURCE_TABLE } from '../../../src/mapping/columns.ts';
import { ident, qualified } from '../../../src/mapping/identifier.ts';
import { failure } from '../../errors/failure.ts';
import { sqlState } from '../../errors/sqlstate.ts';
import { connect } from '../../pg/connect.ts';
import type { Endpoint } from '../../pg/endpoint.ts';
import { transaction } from '../../pg/transaction.ts';
import type { Schemas } from '../../state/names.ts';
import { adviseIndexes, type IndexAdvice } from './indexes.ts';

/** What `plan --in-place` ends with: the guide's "estimate migration time", from a sample of the real thing. */
export interface EstimateDocument {
  readonly rows: number;
  /** user_settings with its indexes and what lies outside of its rows. */
  readonly table_bytes: number;
  readonly database_bytes: number;
  /** How much the new tables will add. */
  readonly added_bytes: number;
  readonly batch_size: number;
  readonly batches: number;
  readonly sampled_rows: number;
  readonly sampled_seconds: number;
  readonly rows_per_second: number;
  /** All of 057, on a machine that does nothing else. */
  readonly estimated_seconds: number;
  /** How long writers wait at the end; the application's own change-over comes on top. */
  readonly writers_locked_seconds: number;
  /** Within which to stop the old application and start the new one: what is written after 057 is not followed. */
  readonly maintenance_window_seconds: number;
  readonly indexes: readonly IndexAdvice[];
  readonly next_steps: readonly string[];
}

export interface EstimateOptions {
  readonly batchSize: number;
  /** How long the sample may take; whole batches. */
  readonly sampleMs: number;
}

/** Tables, constraints, and sessions: what 056 and 057 cost with hardly any rows. */
const FIXED_SECONDS = 0.5;
/** The lock, the sequences, and the commit of the last pass. */
const LOCK_SECONDS = 0.1;

const SIZES = `
  SELECT to_regclass($1) IS NOT NULL AS found, coalesce(pg_total_relation_size(to_regclass($1)), 0)::text AS table_bytes,
         pg_database_size(current_database())::text AS database_bytes`;

/**
 * Moves rows for real for a moment, into tables that are rolled back, and reckons from that. Nothing stays; the old
 * table is only read.
 * @throws OrchestrateError CANNOT_CONNECT, AUTHENTICATION; WRONG_PHASE where there is no user_settings;
 * MIGRATION_REFUSED where a right is missing.
 */
export async function estimateInPlace(
  endpoint: Endpoint,
  schemas: Schemas,
  options: EstimateOptions,
): Promise<EstimateDocument> {
  const client = await connect(endpoint, { purpose: 'plan' });
  try {
    const query = queryOf(client);
    const source = qualified(schemas.source, SOURCE_TABLE);
    const [sizes] = await query<{ found: boolean; table_bytes: string; database_bytes: string }>(SIZES, [
      source,
    ]);
    if (sizes?.found !== true)
      throw failure('WRONG_PHASE', {
        message: 'there is nothing to migrate in place',
        expected: `${schemas.source}.${SOURCE_TABLE} in the database of ${endpoint.side}`,
        found: 'no such table',
        fix: 'orchestrate plan',
      });
    const [counted] = await query<{ rows: string }>(`SELECT count(*)::text AS rows FROM ${source}`, []);
    const rows = Number(counted?.rows ?? 0);
    const sample = await sampled(client, query, schemas, options);
    // A window that no row lies in: the last pass reads the whole table to find the few that were written.
    const scanSeconds = await timed(() =>
      query(statementsOf(schemas).changed, ['-2147483649', 1, '-1', '0']),
    );
    const factor = sample.rows === 0 ? 0 : rows / sample.rows;
    const locked = scanSeconds * 2 + LOCK_SECONDS;
    const seconds = FIXED_SECONDS + (sample.seconds + sample.checkSeconds) * factor + scanSeconds + locked;
    return {
      rows,
      table_bytes: Number(sizes.table_bytes),
      database_bytes: Number(sizes.database_bytes),
      added_bytes: Math.round(sample.bytes * factor),
      batch_size: options.batchSize,
      batches: Math.floor(rows / options.batchSize) + 1,
      sampled_rows: sample.rows,
      sampled_seconds: sample.seconds,
      rows_per_second: sample.seconds > 0 ? Math.round(sample.rows / sample.seconds) : 0,
      estimated_seconds: seconds,
      writers_locked_seconds: locked,
      // Twice, because the guide's window is one that must not be too short.
      maintenance_window_seconds: Math.ceil(seconds * 2),
      indexes: await adviseIndexes(query, schemas),
      next_steps: ['056', '057'].map((to) => `orchestrate migrate up --side ${endpoint.side} --to ${to}`),
    };
  } finally {
    await client.end().catch(() => {});
  }
}

interface Sample {
  readonly rows: number;
  readonly seconds: number;
  /** Of making the foreign keys again over these rows. */
  readonly checkSeconds: number;
  readonly bytes: number;
}

/** Thrown to take the sample back. */
class TakenBack extends Error {
  readonly sample: Sample;
  constructor(sample: Sample) {
    super('the sample is taken back');
    this.sample = sample;
  }
}

async function sampled(
  client: pg.Client,
  query: RunQuery,
  schemas: Schemas,
  { batchSize, sampleMs }: EstimateOptions,
): Promise<Sample> {
  const owner = await tablesOwner(query, schemas.source, SOURCE_TABLE);
  const scratch = { source: schemas.source, org: `orchestrate_sample_${randomBytes(4).toString('hex')}` };
  const sql = statementsOf(scratch);
  try {
    await transaction(client, async () => {
      // Ours, because the owner of the tables need not have the right to create a schema.
      await query(`CREATE SCHEMA ${ident(scratch.org)}`, []);
      await query(`GRANT USAGE, CREATE ON SCHEMA ${ident(scratch.org)} TO ${ident(owner)}`, []);
      await query(`SET LOCAL ROLE ${ident(owner)}`, []);
      await query(
        createOrgTables((name) => qualified(scratch.org, name)),
        [],
      );
      await beginInPlace(query, scratch);
      await setForeignKeysAside(query, scratch);
      let read = { last_id: '-2147483649', copied: false, rows_read: '0' };
      const startedAt = performance.now();
      while (!read.copied && performance.now() - startedAt < sampleMs) {
        const [next] = await query<typeof read>(sql.batch, [read.last_id, batchSize, 0]);
        if (next === undefined) break;
        read = next;
      }
      const seconds = (performance.now() - startedAt) / 1_000;
      const checkSeconds = await timed(() => restoreForeignKeys(query, scratch));
      const [size] = await query<{ bytes: string }>(
        `SELECT sum(pg_total_relation_size(c.oid))::text AS bytes FROM pg_catalog.pg_class AS c
         WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r' AND c.relname <> 'orchestrate_in_place'`,
        [ident(scratch.org)],
      );
      throw new TakenBack({
        rows: Number(read.rows_read),
        seconds,
        checkSeconds,
        bytes: Number(size?.bytes),
      });
    });
  } catch (error) {
    if (error instanceof TakenBack) return error.sample;
    if (sqlState(error) === '42501')
      throw failure('MIGRATION_REFUSED', {
        message: 'no sample can be taken',
        expected: 'the right to create a schema, and membership in the role that owns user_settings',
        found: 'error 42501',
        fix: 'orchestrate preflight',
        cause: error,
      });
    throw error;
  }
  throw new Error('a sample was not taken back');
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1_000;
}

function queryOf(client: pg.Client): RunQuery {
  return async <Row extends object>(sql: string, bind: readonly unknown[]) =>
    (await client.query<Row & pg.QueryResultRow>(sql, [...bind])).rows;
}

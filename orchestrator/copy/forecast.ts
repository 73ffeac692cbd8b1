import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { createOrgTables } from '../../migrations/056-create-org-tables.ts';
import { qualified } from '../../src/mapping/identifier.ts';
import type { Context } from '../state/context.ts';
import { relationsOf } from '../state/names.ts';
import { type IdRange, planRanges } from './bounds.ts';
import { agreedFormat } from './format.ts';
import { Pace } from './pace.ts';
import { discard, openChunkWriter, openReader } from './session.ts';
import { type CopyFormat, countRange, targetTransfers } from './statements.ts';
import { transferRows } from './transfer.ts';

/** What a sample says of the whole copy. */
export interface CopyForecast {
  /** Rows of the source: counted in a small table, estimated from a sample of pages in a large one. */
  readonly rows: number;
  /** Of the copy alone; keys and indexes come after it. */
  readonly seconds: number;
  readonly rows_per_second: number;
  /** Of the columns of the source: binary where the types of both sides agree, else text. */
  readonly format: CopyFormat;
  readonly sampled_rows: number;
  readonly sampled_seconds: number;
}

export interface ForecastOptions {
  readonly workers: number;
  readonly maxRateBytes?: number;
  /** How long the sample takes; default 2,000. */
  readonly sampleMs?: number;
}

/** Small enough that several fit into the sample, large enough that a chunk's own cost does not stand out. */
const SAMPLE_RANGE_ROWS = 8_000;
/** Sessions, plan, and the end of the last chunk: what a copy costs that has hardly any rows. */
const FIXED_SECONDS = 0.3;

/**
 * Copies for two seconds for real, with as many workers as the copy will have, into tables of green that nobody else sees:
 * they are made, filled and rolled back in one transaction a worker. Blue is only read.
 *
 * The pieces come from all over the table, so that a skew of row sizes is in the sample.
 * @returns the forecast, or null where there is no source table or no row in it.
 * @throws the server's error, for example when green lets nobody create a schema (42501).
 */
export async function forecastCopy(ctx: Context, options: ForecastOptions): Promise<CopyForecast | null> {
  const reader = await openReader(ctx);
  let ranges: IdRange[];
  try {
    const { rows } = await reader.query<{ found: boolean }>('SELECT to_regclass($1) IS NOT NULL AS found', [
      ctx.relations.userSettings,
    ]);
    if (!rows[0]?.found) return null;
    ranges = await planRanges(reader, ctx, options.workers, SAMPLE_RANGE_ROWS);
  } finally {
    await discard(reader);
  }
  const rows = ranges.reduce((sum, r) => sum + r.expectedRows, 0);
  if (rows === 0) return null;
  const queue = spread(ranges);
  const pace = new Pace(options.maxRateBytes);
  const samples = await Promise.all(
    Array.from({ length: options.workers }, () => sample(ctx, queue, pace, options.sampleMs ?? 2_000)),
  );
  const rate = samples.reduce((sum, s) => sum + (s.seconds > 0 ? s.rows / s.seconds : 0), 0);
  if (rate === 0) return null;
  return {
    rows,
    seconds: rows / rate + FIXED_SECONDS,
    rows_per_second: Math.round(rate),
    format: samples[0]?.format ?? 'text',
    sampled_rows: samples.reduce((sum, s) => sum + s.rows, 0),
    sampled_seconds: Math.max(...samples.map((s) => s.seconds)),
  };
}

/** The same ranges in an order in which every beginning is spread over the whole table (golden-ratio steps). */
function spread(ranges: readonly IdRange[]): IdRange[] {
  return ranges
    .map((range, i) => ({ range, place: (i * 0.618_033_988_75) % 1 }))
    .sort((a, b) => a.place - b.place)
    .map(({ range }) => range);
}

interface Sample {
  readonly rows: number;
  readonly seconds: number;
  readonly format: CopyFormat;
}

async function sample(ctx: Context, queue: IdRange[], pace: Pace, sampleMs: number): Promise<Sample> {
  const reader = await openReader(ctx);
  try {
    const writer = await openChunkWriter(ctx);
    try {
      await writer.query('BEGIN');
      const scratch = { ...ctx, relations: await scratchTables(writer, ctx) };
      const format = await agreedFormat(reader, writer, scratch);
      let rows = 0;
      const startedAt = performance.now();
      while (performance.now() - startedAt < sampleMs) {
        ctx.signal.throwIfAborted();
        const range = queue.shift();
        if (range === undefined) break;
        await reader.query(countRange(scratch, range));
        let mapped = 0;
        for (const transfer of targetTransfers(scratch, range, format))
          mapped = (await transferRows(reader, writer, transfer, pace, ctx.signal)).rows;
        rows += mapped;
      }
      return { rows, seconds: (performance.now() - startedAt) / 1_000, format };
    } finally {
      // Ends the transaction: nothing of the sample stays.
      await discard(writer);
    }
  } finally {
    await discard(reader);
  }
}

/** The tables of revision 056 without what the copy takes away before it loads them, in a schema of this transaction. */
async function scratchTables(writer: pg.Client, ctx: Context): Promise<Context['relations']> {
  const schema = `orchestrate_sample_${randomBytes(4).toString('hex')}`;
  const model = (table: string): string => qualified(schema, `${table}_model`);
  await writer.query(`CREATE SCHEMA ${schema}`);
  await writer.query(createOrgTables(model));
  for (const table of ['org', 'user', 'org_user', 'settings'])
    await writer.query(`CREATE TABLE ${qualified(schema, table)} (LIKE ${model(table)})`);
  const { parked, link } = ctx.relations;
  return { ...relationsOf({ ...ctx.schemas, org: schema }), parked, link };
}

import type pg from 'pg';
import { failure } from '../errors/failure.ts';
import type { Claim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';
import { readSide, type SideRow } from '../state/store.ts';

const TRY_LEASE = 'SELECT pg_try_advisory_lock($1::bigint) AS taken';

const BUMP = `
  UPDATE orchestrator.side
  SET epoch = $2
  WHERE migration = $1 AND epoch < $2`;

/**
 * The claim under which an abort or a finalize writes: the caller's, when it holds the lease; else the lease is taken
 * here, for as long as the sessions live, and the epoch of every side that is there is raised.
 * @param clients the sides that can be reached, green before blue; a control schema may be missing on either.
 * @throws OrchestrateError LEASE_HELD when another runner holds the lease.
 */
export async function endingRight(ctx: Context, clients: readonly pg.Client[]): Promise<Claim> {
  const rows: SideRow[] = [];
  let free = true;
  for (const client of clients) {
    const { rows: lease } = await client.query<{ taken: boolean }>(TRY_LEASE, [ctx.names.leaseLock]);
    free &&= lease[0]?.taken === true;
    const row = await readSide(client, ctx.names.migration);
    if (row) rows.push(row);
  }
  const claim = ctx.claim();
  if (!free) {
    if (rows.every(({ epoch }) => epoch === claim.epoch && epoch > 0n)) return claim;
    throw failure('LEASE_HELD', {
      expected: 'no runner at work, or a request to it',
      found: 'another session holds the lease',
      fix: 'stop the runner, then the same command again',
    });
  }
  let epoch = 0n;
  let generation = 0n;
  for (const row of rows) {
    if (row.epoch > epoch) epoch = row.epoch;
    if (row.generation > generation) generation = row.generation;
  }
  epoch += 1n;
  for (const client of clients)
    if (await readSide(client, ctx.names.migration))
      await client.query(BUMP, [ctx.names.migration, epoch.toString()]);
  return { migration: ctx.names.migration, epoch, generation };
}

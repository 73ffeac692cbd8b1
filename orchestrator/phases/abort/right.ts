import type pg from 'pg';
import { failure } from '../../errors/failure.ts';
import type { Claim } from '../../state/claim.ts';
import type { Context } from '../../state/context.ts';
import { readSide } from '../../state/store.ts';

const TRY_LEASE = 'SELECT pg_try_advisory_lock($1::bigint) AS taken';

const BUMP = `
  UPDATE orchestrator.side
  SET epoch = $2
  WHERE migration = $1 AND epoch < $2`;

/**
 * The claim under which an abort writes: the caller's, when it holds the lease; else the lease is taken here, for as
 * long as the sessions live, and the epoch of every side that can be reached is raised. Nobody needs green for that.
 * @throws OrchestrateError LEASE_HELD when another runner holds the lease.
 */
export async function abortRight(ctx: Context, blue: pg.Client, green: pg.Client | null): Promise<Claim> {
  const sides = green ? [green, blue] : [blue];
  const epochs: bigint[] = [];
  let highest = 0n;
  let free = true;
  for (const client of sides) {
    const { rows } = await client.query<{ taken: boolean }>(TRY_LEASE, [ctx.names.leaseLock]);
    free &&= rows[0]?.taken === true;
    const row = await readSide(client, ctx.names.migration);
    if (row) epochs.push(row.epoch);
    if (row && row.epoch > highest) highest = row.epoch;
  }
  const claim = ctx.claim();
  if (!free) {
    if (epochs.every((epoch) => epoch === claim.epoch && epoch > 0n)) return claim;
    throw failure('LEASE_HELD', {
      expected: 'no runner at work, or a request to it',
      found: 'another session holds the lease',
      fix: 'stop the runner, then orchestrate abort',
    });
  }
  const next = highest + 1n;
  for (const client of sides)
    if (await readSide(client, ctx.names.migration))
      await client.query(BUMP, [ctx.names.migration, next.toString()]);
  return { migration: ctx.names.migration, epoch: next, generation: 0n };
}

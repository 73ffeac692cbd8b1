import type { ClientBase } from 'pg';
import { failure } from '../errors/failure.ts';

/** What a write of ours must still be true of, on the side it writes: nobody took over, no handover came between. */
export interface Claim {
  readonly migration: string;
  readonly epoch: bigint;
  readonly generation: bigint;
}

const HOLD = `
  SELECT 1
  FROM orchestrator.side
  WHERE migration = $1 AND epoch = $2 AND generation = $3
  FOR SHARE`;

/**
 * First statement of every write transaction of ours (I10). The row lock, not the read, is what stops a zombie: a
 * takeover's bump waits for it or terminates it, and a late one finds no row.
 * @throws OrchestrateError STALE_EPOCH; nothing has been written then.
 */
export async function holdClaim(client: ClientBase, claim: Claim): Promise<void> {
  const { rowCount } = await client.query({ name: 'hold_claim', text: HOLD, values: valuesOf(claim) });
  refuseUnless(rowCount === 1, claim);
}

/** The same for a transaction of sequelize's, which has no client of the driver to hand out. */
export async function holdClaimBy(
  query: (sql: string, bind: readonly unknown[]) => Promise<readonly object[]>,
  claim: Claim,
): Promise<void> {
  refuseUnless((await query(HOLD, valuesOf(claim))).length === 1, claim);
}

const valuesOf = (claim: Claim): string[] => [
  claim.migration,
  claim.epoch.toString(),
  claim.generation.toString(),
];

function refuseUnless(held: boolean, claim: Claim): void {
  if (!held)
    throw failure('STALE_EPOCH', {
      expected: `epoch ${claim.epoch}, generation ${claim.generation}`,
      found: 'another epoch or generation',
    });
}

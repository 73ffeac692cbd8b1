import { otherSide, type Side } from '../../../orchestrator/pg/side.ts';
import { checkPromises } from '../../../orchestrator/rehearsal/comparison/promises.ts';
import type { Pair } from '../../../orchestrator/rehearsal/embedded-pair.ts';
import { type Facts, foldFacts } from '../../../orchestrator/rehearsal/ledger/facts.ts';
import { readLedger } from '../../../orchestrator/rehearsal/ledger.ts';
import { rows } from '../sql.ts';

const IS_PARKED_HERE = `SELECT to_regclass('orchestrator.parked') IS NOT NULL AS here`;

/** Rows that the new model has no place for: without a key, or with one that others have too. */
const ODD = `
  SELECT id
  FROM (SELECT id, keycloak_user_id AS key, count(*) OVER (PARTITION BY keycloak_user_id) AS sharing FROM user_settings) AS u
  WHERE key IS NULL OR key = '' OR sharing > 1`;

const MAPPED = 'SELECT id FROM "user" WHERE id = ANY ($1::integer[])';

/**
 * Looks up everything that was acknowledged. Rows that were parked go with green's control schema when the migration
 * is finalized; what was written to them is on blue, which was in sync until then.
 * @returns how many writes were acknowledged, and how many of the users they were for hold something else.
 */
export async function lookUp(
  pair: Pair,
  serving: Side,
  ledger: string,
): Promise<{ acknowledged: number; lost: number }> {
  const facts = await foldFacts(readLedger(ledger));
  const parked = await parkedElsewhere(pair, serving);
  const of = (isParked: boolean): Facts => ({
    ...facts,
    users: new Map([...facts.users].filter(([id]) => parked.has(id) === isParked)),
  });
  const urls = { blue: pair.urls.blue.superuser, green: pair.urls.green.superuser };
  const there = await checkPromises({ database: urls[serving], side: serving, ledger: of(false) });
  if (parked.size === 0) return { acknowledged: facts.acknowledged, lost: there.lost.length };
  const other = otherSide(serving);
  const elsewhere = await checkPromises({ database: urls[other], side: other, ledger: of(true) });
  return { acknowledged: facts.acknowledged, lost: there.lost.length + elsewhere.lost.length };
}

async function parkedElsewhere(pair: Pair, serving: Side): Promise<Set<number>> {
  if (serving === 'blue') return new Set();
  const green = pair.urls.green.superuser;
  if ((await rows<{ here: boolean }>(green, IS_PARKED_HERE))[0]?.here === true) return new Set();
  const odd = (await rows<{ id: number }>(pair.urls.blue.superuser, ODD)).map(({ id }) => id);
  const mapped = new Set((await rows<{ id: number }>(green, MAPPED, [odd])).map(({ id }) => id));
  return new Set(odd.filter((id) => !mapped.has(id)));
}

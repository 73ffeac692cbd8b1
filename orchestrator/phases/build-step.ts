import type pg from 'pg';
import { failpoint } from '../errors/failpoint.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { transaction } from '../pg/transaction.ts';
import { holdClaim } from '../state/claim.ts';
import type { Context } from '../state/context.ts';

const IN_THE_WAY = `
  SELECT string_agg(DISTINCT coalesce('pid ' || l.pid, 'a prepared transaction'), ', ') AS who,
         current_setting('lock_timeout') AS waited
  FROM pg_locks AS l
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
  WHERE l.locktype = 'relation' AND l.granted
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    AND l.relation = ANY (ARRAY(SELECT to_regclass(t) FROM unnest($1::text[]) AS t))
    AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND coalesce(a.application_name, '') NOT LIKE 'orchestrate/%'`;

/**
 * One durable step of the build: a statement in a transaction of its own, under the claim. The session's lock_timeout
 * bounds it.
 * @param tables quoted, qualified: what the statement locks.
 * @param setting a SET LOCAL for this statement.
 * @throws OrchestrateError LOCK_TIMEOUT that names the sessions in the way; STALE_EPOCH.
 */
export async function step(
  ctx: Context,
  client: pg.Client,
  tables: readonly string[],
  statement: string,
  setting?: string,
): Promise<void> {
  const startedAt = performance.now();
  await failpoint('build.before');
  try {
    await transaction(client, async () => {
      await holdClaim(client, ctx.claim());
      if (setting !== undefined) await client.query(setting);
      await client.query(statement);
    });
  } catch (error) {
    if (sqlState(error) !== '55P03') throw error;
    const { rows } = await client.query<{ who: string | null; waited: string }>(IN_THE_WAY, [tables]);
    throw failure('LOCK_TIMEOUT', {
      message: `the build on green: ${tables.join(', ')} could not be locked`,
      expected: `no session that holds a lock on them for longer than ${rows[0]?.waited}`,
      found: rows[0]?.who ?? 'it has ended meanwhile',
      fix: 'end the named sessions (SELECT pg_terminate_backend(pid)), then orchestrate run',
      cause: error,
    });
  }
  await failpoint('build.after');
  ctx.log.debug({ statement, seconds: (performance.now() - startedAt) / 1_000 }, 'build step');
}

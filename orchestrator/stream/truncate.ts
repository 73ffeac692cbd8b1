import type pg from 'pg';
import type { Relations } from '../../src/mapping/sql.ts';
import type { Context } from '../state/context.ts';
import { appendJournal } from '../state/journal.ts';
import { keepForeignRows } from './foreign-rows.ts';
import { unmap } from './forward-move.ts';
import type { SinkTransaction } from './sink.ts';

/** Most ids that are remembered one by one; the delta is lost with fewer. */
const REMEMBERED = 200_001;
const PART = 1_000;

const OURS = (r: Relations) => `
  SELECT "id" FROM ${r.user}
  UNION ALL
  SELECT "id" FROM ${r.parked}
  LIMIT ${REMEMBERED}`;

/** Whether green holds anything that no user owns. */
const FOREIGN = (r: Relations) => `
  SELECT EXISTS (
           SELECT FROM ${r.orgUser} AS t
           LEFT JOIN ${r.link} AS l ON l.k = t."user_id"
           WHERE t."org_id" IS DISTINCT FROM CASE WHEN l.k IS NULL THEN t."user_id" ELSE l.org_id END)
      OR EXISTS (
           SELECT FROM ${r.org} AS t
           WHERE NOT EXISTS (SELECT FROM ${r.link} AS l WHERE l.org_id = t."id")
             AND NOT EXISTS (
               SELECT FROM ${r.user} AS u
               WHERE u."id" = t."id" AND NOT EXISTS (SELECT FROM ${r.link} AS l WHERE l.k = u."id")))
      OR EXISTS (
           SELECT FROM ${r.settings} AS t
           WHERE t."user_id" IS NOT NULL
              OR NOT EXISTS (SELECT FROM ${r.link} AS l WHERE l.settings_id = t."id")
             AND NOT EXISTS (
               SELECT FROM ${r.user} AS u
               WHERE u."id" = t."id" AND NOT EXISTS (SELECT FROM ${r.link} AS l WHERE l.k = u."id"))) AS found`;

/**
 * What a TRUNCATE of `user_settings` means for green: every row of ours goes, mapped or parked; what is not ours
 * stays, or is kept where it would block (I8).
 *
 * Where all rows are ours the tables are truncated here, too.
 * @param expectDeletions told before users are deleted one by one.
 */
export async function truncate(
  tx: SinkTransaction,
  ctx: Context,
  served: boolean,
  expectDeletions: (users: number) => Promise<void>,
): Promise<void> {
  const { client } = tx;
  const r = ctx.relations;
  const { rows } = await client.query<{ id: number }>(OURS(r));
  for (const { id } of rows) tx.touched.add(id);
  let kept = 0;
  if (served && (await holdsForeignRows(client, r))) {
    await expectDeletions(rows.length);
    kept = await deleteUsers(client, r);
  } else await client.query(`TRUNCATE ${r.orgUser}, ${r.settings}, ${r.user}, ${r.org}`);
  await client.query(`DELETE FROM ${r.link}`);
  await client.query(`DELETE FROM ${r.parked}`);
  await client.query('DELETE FROM orchestrator.diverged');
  await appendJournal(client, ctx.claim(), 'truncated', {
    rows: rows.length === REMEMBERED ? `more than ${REMEMBERED - 1}` : rows.length,
    kept,
  });
}

async function holdsForeignRows(client: pg.Client, r: Relations): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>(FOREIGN(r));
  return rows[0]?.found ?? true;
}

async function deleteUsers(client: pg.Client, r: Relations): Promise<number> {
  let kept = 0;
  for (;;) {
    const { rows } = await client.query<{ id: number }>(
      `SELECT "id" FROM ${r.user} ORDER BY "id" LIMIT ${PART}`,
    );
    if (rows.length === 0) return kept;
    const ids = rows.map((row) => row.id);
    const moved = await keepForeignRows(client, r, ids);
    kept += moved.orgUser + moved.settings;
    await unmap(client, r, ids);
  }
}

import type pg from 'pg';
import type { Side } from '../../pg/side.ts';
import { type Database, openTextSession } from '../connection.ts';
import { digestSql } from '../ledger/event.ts';
import { type Facts, foldFacts } from '../ledger/facts.ts';
import { readLedger } from '../ledger.ts';
import type { SourceColumn } from '../source-columns.ts';
import { type Difference, NothingToCompare } from './difference.ts';
import { FACT_COLUMNS, greenTableOf, type SourceForm, sourceForm } from './source-form.ts';

export interface PromisesRequest {
  /** The serving side, with a role that may read its tables and, on green, schema `orchestrator`. */
  readonly database: Database;
  readonly side: Side;
  readonly schema?: string;
  /** The ledger's file, or what was folded from it. */
  readonly ledger: string | Facts;
}

export interface PromisesKept {
  readonly clean: boolean;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly users: number;
  /** (user, column) pairs looked up, whole-table statements not counted. */
  readonly facts: number;
  readonly lost: readonly Difference[];
}

const BATCH = 500;

const DIGESTS = (rows: string): string => `
  SELECT id::text AS id, ${FACT_COLUMNS.map((c) => `${digestSql(c)} AS ${c}`).join(', ')}
  FROM (${rows}) AS source
  WHERE id = ANY ($1::integer[])`;

/**
 * Users up to $1 whose column holds none of the digests $2. Rows that share a key or have none are left out (only the
 * old schema writes to all of them), and so are the users $3, whose key was changed.
 */
const EVERYONE_DIFFERS = (mapped: string, column: SourceColumn): string => `
  SELECT id::text AS id
  FROM (
    SELECT id, ${digestSql(column)} AS digest
    FROM (
      SELECT id, ${column}, keycloak_user_id, count(*) OVER (PARTITION BY keycloak_user_id) AS sharing
      FROM (${mapped}) AS source
    ) AS counted
    WHERE id <= $1 AND keycloak_user_id <> '' AND sharing = 1 AND NOT (id = ANY ($3::integer[]))
  ) AS digested
  WHERE digest <> ALL ($2::text[])`;

/**
 * Checks I2: the last acknowledged value of every user and column is on the serving side.
 *
 * Where a later write's outcome is unknown its value is as good. A user whose delete was acknowledged is gone.
 * @throws NothingToCompare when the ledger holds no acknowledged write.
 */
export async function checkPromises(request: PromisesRequest): Promise<PromisesKept> {
  const facts =
    typeof request.ledger === 'string' ? await foldFacts(readLedger(request.ledger)) : request.ledger;
  if (facts.acknowledged === 0) throw new NothingToCompare('the ledger holds no acknowledged write');
  const client = await openTextSession(request.database, 'ledger check', request.schema ?? 'public');
  try {
    const form = await sourceForm(client, request.side, false);
    const lost = [
      ...(await lostByUser(client, request.side, form, facts)),
      ...(await lostByEveryone(client, request.side, form, facts)),
    ];
    let pairs = 0;
    for (const user of facts.users.values()) pairs += user.columns.size;
    return {
      clean: lost.length === 0,
      acknowledged: facts.acknowledged,
      unknown: facts.unknown + facts.open,
      users: facts.users.size,
      facts: pairs,
      lost,
    };
  } finally {
    await client.end();
  }
}

async function lostByUser(
  client: pg.Client,
  side: Side,
  form: SourceForm,
  facts: Facts,
): Promise<Difference[]> {
  const lost: Difference[] = [];
  const users = [...facts.users];
  const tableOf = (column: SourceColumn): string =>
    side === 'blue' ? 'user_settings' : greenTableOf(column);
  for (let from = 0; from < users.length; from += BATCH) {
    const batch = users.slice(from, from + BATCH);
    const found = await client.query<{ id: string } & Record<SourceColumn, string>>(DIGESTS(form.rows), [
      batch.map(([key]) => key),
    ]);
    const rows = new Map(found.rows.map((row) => [row.id, row]));
    for (const [key, user] of batch) {
      const row = rows.get(String(key));
      if (row === undefined) {
        const promised = [...user.columns].filter(([, fact]) => fact.acknowledged !== undefined);
        // Something about this user was acknowledged, and no delete was sent.
        if (user.presence === 'present' && promised.length > 0)
          lost.push({ kind: 'lost', key, table: tableOf('id'), columns: promised.map(([column]) => column) });
        continue;
      }
      if (user.presence === 'absent') {
        lost.push({ kind: 'lost', key, table: tableOf('id'), columns: ['id'] });
        continue;
      }
      for (const [column, fact] of user.columns) {
        if (fact.acknowledged === undefined || row[column] === fact.acknowledged) continue;
        if (!fact.maybe.has(row[column]))
          lost.push({ kind: 'lost', key, table: tableOf(column), columns: [column] });
      }
    }
  }
  return lost;
}

async function lostByEveryone(
  client: pg.Client,
  side: Side,
  form: SourceForm,
  facts: Facts,
): Promise<Difference[]> {
  const lost: Difference[] = [];
  const rekeyed = [...facts.users]
    .filter(([, user]) => user.columns.has('keycloak_user_id'))
    .map(([key]) => key);
  for (const [column, fact] of facts.everyUser) {
    if (fact.acknowledged === undefined) continue;
    const found = await client.query<{ id: string }>(EVERYONE_DIFFERS(form.mapped, column), [
      fact.upTo,
      [fact.acknowledged, ...fact.maybe],
      rekeyed,
    ]);
    for (const { id } of found.rows)
      lost.push({
        kind: 'lost',
        key: Number(id),
        table: side === 'blue' ? 'user_settings' : greenTableOf(column),
        columns: [column],
      });
  }
  return lost;
}

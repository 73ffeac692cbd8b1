import type { ClientBase } from 'pg';
import { KEY_COLUMN } from '../../src/mapping/columns.ts';
import { ident } from '../../src/mapping/identifier.ts';
import type { Relations } from '../../src/mapping/sql.ts';

const KEY = ident(KEY_COLUMN);

/** Which schema the question is put to. */
export type Model = 'old' | 'new';

/** A key that both schemas know. It is a value of a row: it goes back to a server and nowhere else. */
export async function probeKey(client: ClientBase, r: Relations): Promise<string | undefined> {
  const { rows } = await client.query<{ key: string }>(
    `SELECT u.${KEY} AS key FROM ${r.user} AS u JOIN ${r.orgUser} AS m ON m."user_id" = u."id" LIMIT 1`,
  );
  return rows[0]?.key;
}

/** One user's preferences, as each application reads them; only their length comes back. */
const question = (model: Model, r: Relations): string =>
  model === 'old'
    ? `
  SELECT octet_length(us::text) AS bytes FROM ${r.userSettings} AS us WHERE us.${KEY} = $1 LIMIT 1`
    : `
  SELECT octet_length(u::text) + octet_length(s::text) AS bytes
  FROM ${r.user} AS u
  JOIN ${r.orgUser} AS m ON m."user_id" = u."id"
  JOIN ${r.settings} AS s ON s."org_id" = m."org_id" AND s."user_id" IS NULL
  WHERE u.${KEY} = $1
  LIMIT 1`;

/** @returns how long (s) the same question takes through a schema, the way to the server included. */
export async function probe(client: ClientBase, r: Relations, model: Model, key: string): Promise<number> {
  const startedAt = performance.now();
  await client.query(question(model, r), [key]);
  return (performance.now() - startedAt) / 1_000;
}

const BOTH = 'SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL AS both';

/** @returns the median of five; null where a schema is not there, or nobody to ask for. */
export async function probeInPlace(
  client: ClientBase,
  r: Relations,
): Promise<{ readonly old: number; readonly new: number } | null> {
  const { rows } = await client.query<{ both: boolean }>(BOTH, [r.userSettings, r.orgUser]);
  if (rows[0]?.both !== true) return null;
  const key = await probeKey(client, r);
  if (key === undefined) return null;
  const median = async (model: Model) => {
    const seconds: number[] = [];
    for (let i = 0; i < 5; i++) seconds.push(await probe(client, r, model, key));
    return seconds.sort((a, b) => a - b)[2] ?? 0;
  };
  return { old: await median('old'), new: await median('new') };
}

import os from 'node:os';
import type { ClientBase } from 'pg';
import type { Claim } from './claim.ts';
import type { JournalEntry } from './documents.ts';

const APPEND = `
  INSERT INTO orchestrator.journal (migration, epoch, generation, event, detail, by)
  VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb || jsonb_build_object('database_user', session_user))`;

/** A runner that was overtaken has nothing to say any more (I10). A plain look is enough: no entry changes anything. */
const APPEND_OURS = `
  INSERT INTO orchestrator.journal (migration, epoch, generation, event, detail, by)
  SELECT $1::text, $2::bigint, $3::bigint, $4::text, $5::jsonb, $6::jsonb || jsonb_build_object('database_user', session_user)
  WHERE EXISTS (SELECT FROM orchestrator.side AS s WHERE s.migration = $1 AND s.epoch <= $2)`;

/** Who acts here, for the journal: the operating system's user and host. */
export function actor(): { os_user: string; host: string; pid: number } {
  let user = 'unknown';
  try {
    user = os.userInfo().username;
  } catch {
    // a uid without a passwd entry, as containers have
  }
  return { os_user: user, host: os.hostname(), pid: process.pid };
}

/** Appends one entry (LSNs, counts and times, never values) in the caller's transaction, or in one of its own. LSNs and counts may be bigint. */
export async function appendJournal(
  client: ClientBase,
  claim: Claim,
  event: string,
  detail: Readonly<Record<string, unknown>>,
  by: Readonly<Record<string, unknown>> = actor(),
): Promise<void> {
  await client.query(APPEND, entryOf(claim, event, detail, by));
}

/** The same for a runner: @returns false when a later epoch than the claim's has begun; nothing is written then. */
export async function appendOurs(
  client: ClientBase,
  claim: Claim,
  event: string,
  detail: Readonly<Record<string, unknown>>,
): Promise<boolean> {
  return (await client.query(APPEND_OURS, entryOf(claim, event, detail, actor()))).rowCount === 1;
}

const entryOf = (
  claim: Claim,
  event: string,
  detail: Readonly<Record<string, unknown>>,
  by: Readonly<Record<string, unknown>>,
): string[] => [
  claim.migration,
  claim.epoch.toString(),
  claim.generation.toString(),
  event,
  JSON.stringify(detail, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
  JSON.stringify(by),
];

const READ = `
  SELECT j.id::text, to_char(j.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at,
         j.epoch::text, j.generation::text, j.event, j.detail, j.by
  FROM orchestrator.journal AS j
  WHERE j.migration = $1 AND j.id > $2
  ORDER BY j.id
  LIMIT 500`;

/** @returns up to 500 entries after `after`, oldest first. */
export async function readJournal(
  client: ClientBase,
  migration: string,
  after: string,
): Promise<JournalEntry[]> {
  const { rows } = await client.query<JournalEntry>(READ, [migration, after]);
  return rows;
}

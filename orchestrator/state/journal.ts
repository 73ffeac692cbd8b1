import os from 'node:os';
import type { ClientBase } from 'pg';
import type { Claim } from './claim.ts';
import type { JournalEntry } from './documents.ts';

const APPEND = `
  INSERT INTO orchestrator.journal (migration, epoch, generation, event, detail, by)
  VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb || jsonb_build_object('database_user', session_user))`;

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
  await client.query(APPEND, [
    claim.migration,
    claim.epoch.toString(),
    claim.generation.toString(),
    event,
    JSON.stringify(detail, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
    JSON.stringify(by),
  ]);
}

const READ = `
  SELECT id::text, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at,
         epoch::text, generation::text, event, detail, by
  FROM orchestrator.journal
  WHERE migration = $1 AND id > $2
  ORDER BY id
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

import { BASE_REVISION, migrateDown } from '../../../migrations/migrator.ts';
import { tablesOwner } from '../../../migrations/session.ts';
import type { Settings } from '../../config/settings.ts';
import { clientConfig, connect } from '../../pg/connect.ts';
import { parseEndpoint } from '../../pg/endpoint.ts';
import { SIDES } from '../../pg/side.ts';
import type { EndDocument, HandoverDocument, StatusDocument } from '../../state/documents.ts';
import type { Book } from '../book.ts';
import { openTextSession } from '../connection.ts';
import { foldFacts } from '../ledger/facts.ts';
import { readLedger } from '../ledger.ts';
import type { CommandResult, Program } from '../program.ts';
import { changed, pictureOf, unreadIn } from './picture.ts';
import type { StagingPair } from './staging-pair.ts';

/** What the rehearsal added to `user_settings`: the generated range, and whoever signed up. */
const DELETE_OWN = `
  DELETE FROM user_settings
  WHERE id > $1 AND (id <= $2 OR id = ANY ($3::integer[]))`;

const IDENTITY_BACK = `
  SELECT setval(pg_get_serial_sequence('user_settings', 'id'), coalesce($1::bigint, 1), $1 IS NOT NULL)
  WHERE pg_get_serial_sequence('user_settings', 'id') IS NOT NULL`;

const RECORDS = `SELECT to_regclass('public.orchestrate_migrations') IS NOT NULL AS found`;

/**
 * Brings both databases back to what they were, however far the rehearsal came, and proves it: catalogs, positions of
 * sequences, and every row. Repeats nothing that has been done; what cannot be taken away is named in the book.
 * @param ownTo the highest id among the generated rows; 0 when there were none.
 */
export async function restore(
  settings: Settings,
  pair: StagingPair,
  program: Program | undefined,
  book: Book,
  work: { readonly ledger: string; readonly ownTo: number },
): Promise<void> {
  await book.stage(
    'restore',
    async () => {
      // Where green still serves, its tables are the way back: a blue that stays closed could not be opened without.
      if (program === undefined || (await endMigration(program, book))) {
        await dropTables(settings, pair);
        await deleteRows(pair, work);
      }
      const unread = SIDES.flatMap((side) => unreadIn(pair.before[side]).map((name) => `${side} ${name}`));
      const left: string[] = [];
      for (const side of SIDES)
        left.push(
          ...changed(pair.before[side], await pictureOf(pair.urls[side].sync)).map((l) => `${side}, ${l}`),
        );
      book.restored = { identical: left.length === 0, left, unread };
      if (left.length > 0)
        book.fail(
          'restore',
          'catalogs and rows of both databases as they were',
          left.slice(0, 20).join('; '),
        );
      return left.length;
    },
    (left) => (left === 0 ? 'catalogs and rows of both databases as they were' : `${left} things differ`),
  );
}

/**
 * By the program's own commands, which run a runner inside themselves where none is left.
 * @returns whether no migration is left; an operator can end one that is by the same commands.
 */
async function endMigration(program: Program, book: Book): Promise<boolean> {
  const did = <T extends { outcome?: string }>(what: string, ended: CommandResult<T>): boolean => {
    if (ended.exit !== 0)
      book.fail('restore', `${what} done`, `exit ${ended.exit}: ${ended.notes.slice(-500)}`);
    return ended.exit === 0;
  };
  const { document } = await program.command<StatusDocument>('status');
  const phase = document?.phase;
  if (phase === 'finalized' || phase === 'aborted' || phase === 'created') return true;
  if ((document?.generation ?? 0) === 0)
    return did('abort', await program.command<EndDocument>('abort', '--yes'));
  if (
    document?.serving === 'green' &&
    !did('revert', await program.command<HandoverDocument>('revert', '--yes'))
  )
    return false;
  return did('finalize', await program.command<EndDocument>('finalize', '--yes', '--release-green'));
}

/** The org tables stay after a finalize; here they go, as they were not there before. */
async function dropTables(settings: Settings, pair: StagingPair): Promise<void> {
  const endpoint = parseEndpoint('green', pair.urls.green.sync);
  const client = await connect(endpoint, { purpose: 'rehearsal restore' });
  let owner: string;
  try {
    if ((await client.query<{ found: boolean }>(RECORDS)).rows[0]?.found !== true) return;
    owner = await tablesOwner(
      async <T extends object>(sql: string, values: readonly unknown[]) =>
        (await client.query(sql, [...values])).rows as T[],
      settings.schemas.org,
      'settings',
    );
  } finally {
    await client.end();
  }
  await migrateDown(
    {
      config: clientConfig(endpoint, { purpose: 'rehearsal restore' }),
      schemas: settings.schemas,
      owner,
      inPlace: false,
    },
    BASE_REVISION,
  );
}

async function deleteRows(
  pair: StagingPair,
  { ledger, ownTo }: { readonly ledger: string; readonly ownTo: number },
): Promise<void> {
  if (ownTo === 0) return;
  const facts = await foldFacts(readLedger(ledger));
  const signedUp = [...facts.users.keys()].filter((id) => id > ownTo);
  const client = await openTextSession(pair.urls.blue.sync, 'restore', 'public');
  try {
    await client.query('BEGIN');
    await client.query(DELETE_OWN, [pair.highestId, ownTo, signedUp]);
    await client.query(IDENTITY_BACK, [pair.identity]);
    await client.query('COMMIT');
    await client.query('ANALYZE user_settings');
  } finally {
    await client.end();
  }
}

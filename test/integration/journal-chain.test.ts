/** The journal says who did what, cannot be changed, and shows it when its owner changes it all the same. */
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { ensureControl } from '../../orchestrator/phases/control.ts';
import { appendJournal } from '../../orchestrator/state/journal.ts';
import { verifyChain } from '../../orchestrator/state/journal-chain.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { journey } from '../support/journey.ts';
import { runContext } from '../support/run-context.ts';
import { withClient } from '../support/sql.ts';

let pair: Pair;
let green: pg.Client;
let migration: string;
const claim = () => ({ migration, epoch: 7n, generation: 0n });

beforeAll(async () => {
  pair = await freshPair();
  const ctx = runContext(pair);
  migration = ctx.names.migration;
  await ensureControl(ctx);
  green = await connect(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' });
});

afterAll(async () => {
  await green?.end();
  await pair?.drop();
});

const event = (name: string) =>
  appendJournal(green, claim(), name, { lsn: '0/5A3F1D8', keys: 3, 'ä"\\': [1.5, null] });

describe('the chain of the journal', () => {
  it('links every entry when it commits, in the order of commits, whatever the settings of the session', async () => {
    for (const name of ['one', 'two', 'three']) await event(name);
    await green.query('BEGIN');
    await event('rolled back');
    await green.query('ROLLBACK');
    await green.query(`SET timezone = 'Asia/Kathmandu'`);
    await green.query(`SET datestyle = 'German'`);
    await green.query('SET extra_float_digits = 0');
    await event('four');
    const first = await verifyChain(green);
    expect([first.intact, first.problems, first.entries, first.head?.position]).toEqual([true, [], 4, 4]);
    await green.query('RESET ALL');
    expect(await verifyChain(green)).toEqual(first);
  });

  it('nobody waits for a transaction that has written an entry and goes on', async () => {
    const other = await connect(parseEndpoint('green', pair.green.urls.sync), {
      purpose: 'test',
      settings: { lock_timeout: '10s' },
    });
    try {
      await green.query('BEGIN');
      await event('written first, committed last');
      await appendJournal(other, claim(), 'written last, committed first', {});
      await green.query('COMMIT');
      const { rows } = await green.query<{ event: string }>(
        `SELECT j.event FROM orchestrator.journal_link AS l JOIN orchestrator.journal AS j ON j.id = l.entry
         ORDER BY l.position DESC LIMIT 2`,
      );
      expect(rows.map((r) => r.event)).toEqual([
        'written first, committed last',
        'written last, committed first',
      ]);
    } finally {
      await other.end();
    }
  });

  it('waits for no lock that a login could take which may only look', async () => {
    await withClient(pair.green.urls.app, async (other) => {
      // The former lock's key, and what a login may do to the tables that it may read.
      await other.query('SELECT pg_advisory_lock(1869770595, 1785687413)');
      for (const table of ['migration', 'journal', 'journal_link'])
        await expect(other.query(`SELECT FROM orchestrator.${table} FOR SHARE`)).rejects.toMatchObject({
          code: '42501',
        });
      await green.query(`SET lock_timeout = '5s'`);
      await event('not held up');
      await green.query('RESET lock_timeout');
    });
  });

  it('is one chain when many write at once', async () => {
    const before = (await verifyChain(green)).entries;
    const writers = await Promise.all(
      [1, 2, 3, 4].map(() => connect(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' })),
    );
    try {
      await Promise.all(
        writers.map(async (writer) => {
          for (let i = 0; i < 25; i++) await appendJournal(writer, claim(), 'many', { i });
        }),
      );
    } finally {
      await Promise.all(writers.map((writer) => writer.end()));
    }
    const chain = await verifyChain(green);
    expect([chain.intact, chain.entries, chain.head?.position]).toEqual([true, before + 100, before + 100]);
  });

  it.each([
    `UPDATE orchestrator.journal SET event = 'x'`,
    'DELETE FROM orchestrator.journal',
    'TRUNCATE orchestrator.journal',
    `UPDATE orchestrator.journal_link SET position = position`,
    'DELETE FROM orchestrator.journal_link',
    'TRUNCATE orchestrator.journal_link',
  ])('%s is refused', async (statement) => {
    await expect(green.query(statement)).rejects.toMatchObject({ code: '25006' });
    // Not even a superuser walks through by accident.
    await withClient(pair.green.urls.superuser, async (superuser) => {
      await superuser.query('SET session_replication_role = replica');
      await expect(superuser.query(statement)).rejects.toMatchObject({ code: '25006' });
    });
  });

  const off = `ALTER TABLE orchestrator.journal DISABLE TRIGGER ALL; ALTER TABLE orchestrator.journal_link DISABLE TRIGGER ALL;`;
  const on = `ALTER TABLE orchestrator.journal ENABLE ALWAYS TRIGGER link_entry;
    ALTER TABLE orchestrator.journal ENABLE ALWAYS TRIGGER refuse_change;
    ALTER TABLE orchestrator.journal_link ENABLE ALWAYS TRIGGER refuse_change;`;

  it.each([
    ['an event', `UPDATE orchestrator.journal SET event = 'y' WHERE id = 2`, 'changed', '2'],
    ['a fact', `UPDATE orchestrator.journal SET detail = '{"keys": 4}' WHERE id = 2`, 'changed', '2'],
    ['who', `UPDATE orchestrator.journal SET by = by || '{"os_user": "z"}' WHERE id = 2`, 'changed', '2'],
    [
      'when',
      `UPDATE orchestrator.journal SET at = at - interval '1 microsecond' WHERE id = 2`,
      'changed',
      '2',
    ],
    ['an entry less', 'DELETE FROM orchestrator.journal WHERE id = 2', 'removed', '2'],
    [
      'an entry and its link less',
      'DELETE FROM orchestrator.journal WHERE id = 2; DELETE FROM orchestrator.journal_link WHERE entry = 2',
      'gap',
      '3',
    ],
    [
      'a link made to fit',
      `UPDATE orchestrator.journal_link SET hash = sha256('x') WHERE entry = 2`,
      'changed',
      '2',
    ],
    [
      'an entry more',
      `INSERT INTO orchestrator.journal (migration, epoch, generation, event) VALUES ('m', 1, 0, 'never')`,
      'unlinked',
      null,
    ],
    ['all links less', 'DELETE FROM orchestrator.journal_link', 'unlinked', '1'],
  ])('a change by the owner shows: %s', async (_what, change, kind, entry) => {
    // In a transaction that is taken back: each case starts from an intact chain.
    const seen = await withClient(pair.green.urls.superuser, async (owner) => {
      await owner.query(
        `CREATE TEMP TABLE kept AS TABLE orchestrator.journal; CREATE TEMP TABLE links AS TABLE orchestrator.journal_link`,
      );
      try {
        await owner.query(`${off}${change};${on}`);
        return await verifyChain(green);
      } finally {
        await owner.query(`${off}
          DELETE FROM orchestrator.journal; DELETE FROM orchestrator.journal_link;
          INSERT INTO orchestrator.journal OVERRIDING SYSTEM VALUE SELECT * FROM kept;
          INSERT INTO orchestrator.journal_link SELECT * FROM links;${on}`);
      }
    });
    expect(seen.intact).toBe(false);
    expect(seen.problems).toContainEqual(
      expect.objectContaining({ kind, ...(entry === null ? {} : { entry }) }),
    );
    expect((await verifyChain(green)).problems).toEqual([]);
  });

  it('an end that was cut off shows in the head only', async () => {
    const { head } = await verifyChain(green);
    expect(head?.hash).toMatch(/^[0-9a-f]{64}$/);
  });

  it('triggers that were left switched off show, and the command says so with 3', async () => {
    const program = journey(pair);
    const intact = await program.commandIn({ ORCHESTRATE_MIGRATION: migration }, 'events', '--verify');
    expect([intact.exit, intact.stdout.startsWith('Intact: ')]).toEqual([0, true]);
    await withClient(pair.green.urls.superuser, (owner) => owner.query(off));
    try {
      const ended = await program.commandIn(
        { ORCHESTRATE_MIGRATION: migration },
        'events',
        '--verify',
        '--json',
      );
      expect(ended.exit).toBe(3);
      expect(ended.json<{ error: { code: string }; problems: { kind: string }[] }>()).toMatchObject({
        intact: false,
        error: { code: 'JOURNAL_CHANGED' },
        problems: [{ kind: 'trigger' }, { kind: 'trigger' }, { kind: 'trigger' }],
      });
    } finally {
      await withClient(pair.green.urls.superuser, (owner) => owner.query(on));
    }
  });
});

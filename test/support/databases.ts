/** Databases for tests, on real servers: a fresh blue and a fresh green one for every caller. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import {
  createDatabase,
  createRoles,
  type RoleDatabase,
} from '../../orchestrator/rehearsal/embedded/roles.ts';
import {
  type EmbeddedServer,
  type Major,
  startServer,
} from '../../orchestrator/rehearsal/embedded/server.ts';
import { createSourceTable } from '../../orchestrator/rehearsal/source-table.ts';
import { noteRealServers, type SharedServer, sharedServers, TEST_SETTINGS, testMajors } from './servers.ts';
import { withClient } from './sql.ts';
import { until } from './until.ts';

/** One side of a pair. */
export interface TestDatabase extends RoleDatabase {
  readonly major: Major;
  readonly roles: { readonly owner: string; readonly app: string; readonly sync: string };
}

/** A blue database with an empty `user_settings` and an empty green one. */
export interface Pair {
  readonly blue: TestDatabase;
  readonly green: TestDatabase;
  /** Ends all sessions, drops slots, subscriptions and prepared transactions, then both databases. */
  drop(): Promise<void>;
}

/** A pair on two servers of its own, which a test may stop, kill and restart. */
export interface OwnPair extends Pair {
  readonly servers: { readonly blue: EmbeddedServer; readonly green: EmbeddedServer };
}

/**
 * Creates a pair on the servers that all tests share. Names are unique, so files can run side by side; but a
 * transaction that stays open holds up the creation of every slot on its server, whatever the database, so a test
 * that leaves one open for long takes `ownPair`.
 */
export async function freshPair(): Promise<Pair> {
  const servers = await sharedServers();
  const suffix = randomBytes(6).toString('hex');
  const [blue, green] = await Promise.all([
    testDatabase(servers.blue, `blue_${suffix}`),
    testDatabase(servers.green, `green_${suffix}`),
  ]);
  await withClient(blue.urls.owner, createSourceTable);
  return {
    blue,
    green,
    drop: async () => {
      await Promise.all([
        dropDatabase(servers.blue.superuserUrl, blue),
        dropDatabase(servers.green.superuserUrl, green),
      ]);
    },
  };
}

/**
 * Starts two servers for one test (about two seconds) and creates a pair on them; `drop` removes the servers.
 *
 * @param settings additional settings of each side's server
 */
export async function ownPair(
  settings: { blue?: Record<string, string>; green?: Record<string, string> } = {},
): Promise<OwnPair> {
  await noteRealServers();
  const majors = testMajors();
  const start = (side: 'blue' | 'green'): Promise<EmbeddedServer> =>
    startServer({ major: majors[side], fsync: false, settings: { ...TEST_SETTINGS, ...settings[side] } });
  const [blueServer, greenServer] = await bothOrNone(start('blue'), start('green'));
  const withRoles = async (server: EmbeddedServer): Promise<SharedServer> => ({
    major: server.major,
    version: server.version,
    superuserUrl: server.superuserUrl,
    logins: await createRoles(server),
  });
  const [blue, green] = await Promise.all([
    testDatabase(await withRoles(blueServer), 'blue'),
    testDatabase(await withRoles(greenServer), 'green'),
  ]);
  await withClient(blue.urls.owner, createSourceTable);
  return {
    blue,
    green,
    servers: { blue: blueServer, green: greenServer },
    drop: async () => {
      await Promise.all([blueServer.remove(), greenServer.remove()]);
    },
  };
}

async function bothOrNone(
  blue: Promise<EmbeddedServer>,
  green: Promise<EmbeddedServer>,
): Promise<[EmbeddedServer, EmbeddedServer]> {
  const outcomes = await Promise.allSettled([blue, green]);
  const [first, second] = outcomes;
  if (first.status === 'fulfilled' && second.status === 'fulfilled') return [first.value, second.value];
  for (const outcome of outcomes) if (outcome.status === 'fulfilled') await outcome.value.remove();
  throw first.status === 'rejected' ? first.reason : (second as PromiseRejectedResult).reason;
}

async function testDatabase(server: SharedServer, name: string): Promise<TestDatabase> {
  const { owner, app, sync } = server.logins;
  const database = await createDatabase(server, name, server.logins);
  return { ...database, major: server.major, roles: { owner: owner.name, app: app.name, sync: sync.name } };
}

const END_SESSIONS = `
  SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
  WHERE datname = $1 AND pid <> pg_backend_pid()`;

const DROP_IDLE_SLOTS = `
  SELECT pg_drop_replication_slot(slot_name)
  FROM pg_replication_slots
  WHERE database = $1 AND NOT active`;

const COUNT_SLOTS = `
  SELECT count(*)::integer AS slots
  FROM pg_replication_slots
  WHERE database = $1`;

/** Drops one database whatever clings to it: a test that failed half-way leaves all of it behind. */
async function dropDatabase(superuserUrl: string, { database, urls }: TestDatabase): Promise<void> {
  await withClient(urls.superuser, async (client) => {
    const prepared = await client.query<{ gid: string }>(
      'SELECT gid FROM pg_prepared_xacts WHERE database = current_database()',
    );
    for (const { gid } of prepared.rows) await client.query(`ROLLBACK PREPARED ${pg.escapeLiteral(gid)}`);
    const subscriptions = await client.query<{ name: string }>(
      `SELECT quote_ident(subname) AS name
       FROM pg_subscription JOIN pg_database ON pg_database.oid = subdbid
       WHERE datname = current_database()`,
    );
    for (const { name } of subscriptions.rows) {
      await client.query(`ALTER SUBSCRIPTION ${name} DISABLE`);
      await client.query(`ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`);
      await client.query(`DROP SUBSCRIPTION ${name}`);
    }
  });
  await withClient(superuserUrl, async (client) => {
    await client.query(`ALTER DATABASE ${pg.escapeIdentifier(database)} ALLOW_CONNECTIONS false`);
    await until(`the slots of ${database} to be gone`, async () => {
      await client.query(END_SESSIONS, [database]);
      // A slot can be taken again between the list and the drop, by a walsender that was just starting.
      await client.query(DROP_IDLE_SLOTS, [database]).catch(() => undefined);
      return (await client.query<{ slots: number }>(COUNT_SLOTS, [database])).rows[0]?.slots === 0;
    });
    await client.query(`DROP DATABASE ${pg.escapeIdentifier(database)} WITH (FORCE)`);
  });
}

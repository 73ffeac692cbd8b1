/**
 * Writers that a freeze could miss (I2, I6): whoever wrote before it and commits in it is on the other side, and whoever
 * writes after it is refused, whatever his snapshot, his rights or his way of writing.
 */
import { once } from 'node:events';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HandoverKind, handoverFrom, otherSide, type Side } from '../../orchestrator/pg/side.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { type HandoverDocument, STEPS } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { journalPath } from '../support/journal-path.ts';
import { type Ended, type Journey, journey } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { Supervised } from '../support/supervised.ts';
import { until } from '../support/until.ts';

/** The same preference on either side; `$1` is a copied user's id. */
const UPDATE: Readonly<Record<Side, string>> = {
  blue: 'UPDATE public.user_settings SET llm_model = $2 WHERE id = $1',
  green: 'UPDATE public.settings SET llm_model = $2 WHERE id = $1',
};
const READ: Readonly<Record<Side, string>> = {
  blue: 'SELECT llm_model AS token FROM public.user_settings WHERE id = $1',
  green: 'SELECT llm_model AS token FROM public.settings WHERE id = $1',
};
/** A row that the other side shows too, sent through COPY: a person, or one more organisation. */
const COPY: Readonly<Record<Side, string>> = {
  blue: 'COPY public.user_settings (id, keycloak_user_id, llm_model) FROM STDIN',
  green: 'COPY public."user" (id, keycloak_user_id) FROM STDIN',
};
const TRUNCATE: Readonly<Record<Side, string>> = {
  blue: 'TRUNCATE public.user_settings',
  green: 'TRUNCATE public.settings',
};
const COPYING = `
  SELECT FROM pg_locks AS k JOIN pg_stat_activity AS a ON a.pid = k.pid
  WHERE a.datname = current_database() AND a.query LIKE 'COPY public.%' AND a.state = 'active'
    AND k.mode = 'RowExclusiveLock' AND k.granted`;
const REFUSED = { code: '25006' };

let pair: Pair;
let j: Journey;
let runner: Supervised;
const sessions: pg.Client[] = [];

const connected = async (url: string): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  sessions.push(client);
  return client;
};
const app = (side: Side) => connected(pair[side].urls.app);
const admin = async (side: Side): Promise<pg.Client> => {
  const client = await connected(pair[side].urls.superuser);
  await client.query('SET session_replication_role = replica');
  return client;
};
const token = async (side: Side, id: number): Promise<string | null | undefined> =>
  (await rows<{ token: string | null }>(pair[side].urls.superuser, READ[side], [id]))[0]?.token;

/** Begins a handover that stops before its freeze, after its gates. */
const beforeFreeze = async (kind: HandoverKind, ...flags: string[]): Promise<{ ended: Promise<Ended> }> => {
  const from = runner.output.length;
  runner.arm('pause.after:hang');
  const ended = j.command(kind, '--yes', '--json', '--accept-parked', 'all', ...flags);
  let over = false;
  void ended.then(() => {
    over = true;
  });
  if (!(await runner.reached('pause.after', from, async () => over))) throw new Error((await ended).stdout);
  return { ended };
};
/** Lets it go on to the end of its freeze, and stops it there. */
const goOnToDrain = () => runner.arm('drain.before:hang');
const frozen = async (from: number) => {
  await runner.reached('drain.before', from, async () => false);
};
/** Until the freeze waits for whoever has the tables. */
const freezeWaits = (side: Side) =>
  until('the freeze to wait for the writers', async () => {
    const [waiting] = await rows(
      pair[side].urls.superuser,
      `SELECT FROM pg_locks
       WHERE mode = 'ShareRowExclusiveLock' AND NOT granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    );
    return waiting;
  });
const done = async (command: { ended: Promise<Ended> }, serving: Side) => {
  const ended = await command.ended;
  expect(ended.json<HandoverDocument>(), ended.stderr).toMatchObject({ outcome: 'done', serving });
};
const handOver = async (kind: HandoverKind) =>
  done(
    { ended: j.command(kind, '--yes', '--json', '--accept-parked', 'all') },
    kind === 'cutover' ? 'green' : 'blue',
  );

beforeAll(async () => {
  pair = await freshPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 100, seed: 'freeze' }));
  await execute(pair.blue.urls.superuser, 'DELETE FROM public.user_settings WHERE keycloak_user_id IS NULL');
  j = journey(pair);
  runner = new Supervised(j);
  await j.ready();
});
afterAll(async () => {
  await Promise.all(sessions.map((client) => client.end().catch(() => undefined)));
  await runner?.end();
  await pair?.drop();
});

describe.each(['blue', 'green'] as const)('with %s serving', (serving) => {
  const standby = otherSide(serving);
  const kind = handoverFrom(serving);
  const COPIED = serving === 'blue' ? 70_001 : 70_002;
  const copied = `kc-${COPIED}`;
  let ids: number[];
  const id = (n: number): number => ids[n] as number;
  /** What each refused statement said. */
  const said: Record<string, string> = {};
  const tell = async (name: string, statement: Promise<unknown>) => {
    said[name] = await statement.then(
      () => 'passed',
      (error: { code?: string; message?: string }) => error.code ?? error.message ?? 'an error',
    );
  };
  const line = (key: string) => (serving === 'blue' ? `${COPIED}\t${key}\tcopied\n` : `${COPIED}\t${key}\n`);

  /** One handover with all of them in it, each in its own session. */
  beforeAll(async () => {
    ids = (
      await rows<{ id: number }>(
        pair.green.urls.superuser,
        'SELECT s.id FROM settings AS s JOIN "user" AS u ON u.id = s.id ORDER BY s.id LIMIT 20',
      )
    ).map((r) => r.id);
    const command = await beforeFreeze(kind, '--freeze-budget', '60s');
    const snapshot = await app(serving);
    await snapshot.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await snapshot.query(READ[serving], [id(0)]);
    const patient = await app(serving);
    await patient.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    // A snapshot without a lock: TRUNCATE would wait for one.
    await patient.query('SELECT count(*) FROM pg_class');
    const idle = await app(serving);
    await idle.query('BEGIN');
    await idle.query(READ[serving], [id(1)]);

    const late = await app(serving);
    await late.query('BEGIN');
    await late.query(UPDATE[serving], [id(2), 'late']);
    const copying = await connected(pair[serving].urls.superuser);
    const copy = copying.query(copyFrom(COPY[serving]));
    let broken: unknown;
    const copiedWhole = once(copy, 'finish');
    copiedWhole.catch((error: unknown) => {
      broken = error;
    });
    copy.write(line(copied));
    const replica = await admin(serving);
    await replica.query('BEGIN');
    await replica.query(UPDATE[serving], [id(3), 'replica']);
    const prepared = await app(serving);
    await prepared.query('BEGIN');
    await prepared.query(UPDATE[serving], [id(4), 'prepared']);
    await prepared.query(`PREPARE TRANSACTION 'promise-${serving}'`);
    await until('the COPY to hold its table', async () => {
      if (broken) throw new Error('the COPY ended', { cause: broken });
      const held = await rows(pair[serving].urls.superuser, COPYING);
      return held.length > 0;
    });

    const from = runner.output.length;
    goOnToDrain();
    await freezeWaits(serving);
    await late.query('COMMIT');
    copy.end();
    await copiedWhole;
    await replica.query('COMMIT');
    await prepared.query(`COMMIT PREPARED 'promise-${serving}'`);
    await frozen(from);

    await tell('snapshot', snapshot.query(UPDATE[serving], [id(5), 'refused']));
    await tell('idle', idle.query(UPDATE[serving], [id(6), 'refused']));
    for (const client of [snapshot, idle]) await client.query('ROLLBACK');
    await tell('truncate', execute(pair[serving].urls.owner, TRUNCATE[serving]));
    const second = await connected(pair[serving].urls.superuser);
    const refusedCopy = second.query(copyFrom(COPY[serving]));
    refusedCopy.end(line('refused'));
    await tell('copy', once(refusedCopy, 'finish'));
    await tell('replica', replica.query(UPDATE[serving], [id(7), 'refused']));
    await tell('replica truncate', replica.query(TRUNCATE[serving]));
    await tell(
      'prepared',
      prepared.query(`BEGIN; ${UPDATE[serving].replace('$2', `'refused'`).replace('$1', String(id(8)))}`),
    );
    await prepared.query('ROLLBACK');
    runner.arm('');
    await done(command, standby);
    await tell('snapshot after the decision', patient.query(UPDATE[serving], [id(9), 'refused']));
    await tell('replica after the decision', replica.query(UPDATE[serving], [id(10), 'refused']));
  });

  const refused = async (name: string, ...at: number[]) => {
    expect(said[name]).toBe(REFUSED.code);
    for (const n of at)
      for (const side of [serving, standby]) expect(await token(side, id(n))).not.toBe('refused');
  };

  it('a writer that commits late, while the freeze waits for him, is on the other side', async () => {
    expect(await token(standby, id(2))).toBe('late');
  });
  it('a COPY that ends while the freeze waits is on the other side; one that begins in it is refused', async () => {
    const found = await rows(
      pair[standby].urls.superuser,
      `SELECT FROM ${standby === 'blue' ? 'user_settings' : '"user"'} WHERE id = $1 AND keycloak_user_id = $2`,
      [COPIED, copied],
    );
    expect(found).toHaveLength(1);
    await refused('copy');
  });
  it('a prepared transaction that is committed while the freeze waits is on the other side', async () => {
    expect(await token(standby, id(4))).toBe('prepared');
    await refused('prepared', 8);
  });
  it('a superuser with session_replication_role = replica: before it he is on the other side, after it refused', async () => {
    expect(await token(standby, id(3))).toBe('replica');
    await refused('replica', 7);
    await refused('replica truncate');
    await refused('replica after the decision', 10);
  });
  it('REPEATABLE READ from before the freeze that writes in it, or after the decision, is refused', async () => {
    await refused('snapshot', 5);
    await refused('snapshot after the decision', 9);
  });
  it('a session idle in transaction that writes after the freeze is refused', async () => {
    await refused('idle', 6);
  });
  it('TRUNCATE in the freeze is refused, and both sides keep their rows', async () => {
    await refused('truncate');
    for (const [side, table] of [
      ['blue', 'user_settings'],
      ['green', 'settings'],
    ] as const) {
      const [kept] = await rows<{ n: number }>(
        pair[side].urls.superuser,
        `SELECT count(*)::int AS n FROM ${table}`,
      );
      expect(kept?.n).toBeGreaterThan(90);
    }
  });
});

describe('a writer that does not end', () => {
  const id = 1;
  const short = ['--freeze-budget', '3s'];
  const stuck = async (): Promise<{ client: pg.Client; pid: number }> => {
    const client = await app('blue');
    await client.query('BEGIN');
    await client.query(UPDATE.blue, [id, 'stuck']);
    const { rows: me } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    return { client, pid: me[0]?.pid ?? 0 };
  };

  /** A sweep takes a snapshot, which an open transaction holds up; with one just made the gates need none. */
  const swept = async () => expect((await j.command('verify', '--json')).exit).toBe(0);

  it('idle in transaction since before the gates: a no-go that names it', async () => {
    await swept();
    const { client, pid } = await stuck();
    const ended = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
    expect(ended.exit).toBe(3);
    expect(ended.json<HandoverDocument>().error?.message).toContain(`transactions (pid ${pid})`);
    await client.query('ROLLBACK');
  });

  it('idle in transaction since after the gates: 5, named, and its commit is kept', async () => {
    const command = await beforeFreeze('cutover', ...short);
    const { client, pid } = await stuck();
    runner.arm('');
    const ended = await command.ended;
    expect(ended.exit).toBe(5);
    // It never came to a freeze: nobody was refused anything.
    expect(ended.json<HandoverDocument>()).toMatchObject({
      serving: 'blue',
      freeze_seconds: null,
      error: { code: 'STRAGGLERS' },
    });
    expect(ended.json<HandoverDocument>().error?.found).toContain(`pid ${pid} `);
    await client.query('COMMIT');
    await until('its write on green', async () => (await token('green', id)) === 'stuck');
  });

  it('a prepared transaction that stays: named by its gid, 3 before the gates, 5 after them, never ended', async () => {
    const command = await beforeFreeze('cutover', ...short, '--terminate-blockers');
    const client = await app('blue');
    await client.query('BEGIN');
    await client.query(UPDATE.blue, [id, 'promised']);
    await client.query(`PREPARE TRANSACTION 'stays'`);
    runner.arm('');
    const ended = await command.ended;
    expect(ended.exit).toBe(5);
    expect(ended.json<HandoverDocument>().error?.found).toContain('prepared stays');
    await client.query(`COMMIT PREPARED 'stays'`);
    await until('its write on green', async () => (await token('green', id)) === 'promised');

    await swept();
    await client.query('BEGIN');
    await client.query(UPDATE.blue, [id, 'promised again']);
    await client.query(`PREPARE TRANSACTION 'stays'`);
    const gate = await j.command(
      'cutover',
      '--yes',
      '--json',
      '--accept-parked',
      'all',
      '--terminate-blockers',
    );
    expect(gate.exit).toBe(3);
    expect(gate.json<HandoverDocument>().error?.message).toContain('transactions (prepared stays)');
    await client.query(`COMMIT PREPARED 'stays'`);
    await until('its write on green', async () => (await token('green', id)) === 'promised again');
  });

  it('--terminate-blockers ends the session in the way, once it may; what it had not committed is nowhere', async () => {
    const command = await beforeFreeze('cutover', ...short, '--terminate-blockers');
    const first = await stuck();
    runner.arm('');
    const denied = await command.ended;
    expect(denied.exit, 'without pg_signal_backend').toBe(5);
    await first.client.query('ROLLBACK');

    await execute(pair.blue.urls.superuser, `GRANT pg_signal_backend TO "${pair.blue.roles.sync}"`);
    try {
      // Time enough for what is done only after a second of waiting.
      const second = await beforeFreeze('cutover', '--freeze-budget', '60s', '--terminate-blockers');
      const { client, pid } = await stuck();
      runner.arm('');
      await done(second, 'green');
      await expect(client.query('COMMIT')).rejects.toThrow();
      expect(await token('green', id)).toBe('promised again');
      const [told] = await rows<{ pids: number[] }>(
        pair.green.urls.superuser,
        `SELECT detail->'pids' AS pids FROM orchestrator.journal WHERE event = 'terminated' ORDER BY id DESC LIMIT 1`,
      );
      expect(told?.pids).toEqual([pid]);
    } finally {
      await execute(pair.blue.urls.superuser, `REVOKE pg_signal_backend FROM "${pair.blue.roles.sync}"`);
    }
    await handOver('revert');
  });
});

/** It rewrites the table, which voids the sweep: that handover comes to nothing, and the next one finds what it left. */
describe('TRUNCATE that commits while the freeze waits', () => {
  const truncated = async (kind: HandoverKind, serving: Side, ...statements: string[]): Promise<void> => {
    const command = await beforeFreeze(kind);
    const truncating = await connected(pair[serving].urls.superuser);
    await truncating.query('BEGIN');
    for (const statement of statements) await truncating.query(statement);
    runner.arm('');
    await freezeWaits(serving);
    await truncating.query('COMMIT');
    const ended = await command.ended;
    expect(ended.exit).toBe(5);
    expect(ended.json<HandoverDocument>()).toMatchObject({ serving, error: { code: 'SCHEMA_CHANGED' } });
    await handOver(kind);
  };

  it('on blue: green has what it left, and nothing else', async () => {
    await truncated(
      'cutover',
      'blue',
      'TRUNCATE public.user_settings',
      `INSERT INTO public.user_settings (id, keycloak_user_id, llm_model) VALUES (80001, 'kc-80001', 'after')`,
    );
    expect(await token('green', 80_001)).toBe('after');
    expect(await rows(pair.green.urls.superuser, 'SELECT id FROM "user"')).toHaveLength(1);
  });

  it('on green: blue has lost the same preferences, and keeps its users', async () => {
    await truncated('revert', 'green', 'TRUNCATE public.settings');
    expect(await token('blue', 80_001)).toBeNull();
  });
});

it('everything that was journaled meanwhile is a path of the model', async () => {
  const path = await journalPath(pair.green.urls.superuser);
  expect(path.strange).toEqual([]);
  for (const node of ['no-go', 'aborted', 'done', 'reopened', ...STEPS])
    expect([...path.seen]).toContain(node);
});

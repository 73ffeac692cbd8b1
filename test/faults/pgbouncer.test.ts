/** Clients behind real pgbouncers, through cutover and revert. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { otherSide } from '../../orchestrator/pg/side.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { pgbouncerTraffic } from '../../orchestrator/traffic/pgbouncer.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { PGBOUNCER, type Pgbouncer, startPgbouncer } from '../support/pgbouncer.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

/** The application's one statement, whatever the schema beneath: what its next release would bring along. */
const SAVE = {
  blue: `CREATE FUNCTION save(integer, text) RETURNS integer LANGUAGE sql AS
         'UPDATE user_settings SET llm_model = $2 WHERE id = $1 RETURNING id'`,
  green: `CREATE FUNCTION save(integer, text) RETURNS integer LANGUAGE sql AS
          'UPDATE settings SET llm_model = $2 WHERE id = $1 RETURNING id'`,
} as const;

/** A client that never knocks twice: every statement that fails counts. */
class Client {
  readonly failed: string[] = [];
  readonly acknowledged = new Map<number, string>();
  count = 0;
  private readonly work: Promise<void>;
  private stopped = false;

  constructor(url: string, ids: readonly number[]) {
    this.work = this.write(url, ids);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.work;
  }

  private async write(url: string, ids: readonly number[]): Promise<void> {
    const client = new pg.Client({ connectionString: url });
    client.on('error', (error) => this.failed.push(error.message));
    await client.connect();
    for (let n = 0; !this.stopped; n++) {
      const id = ids[n % ids.length] as number;
      try {
        // Every other one as a transaction: one that is open is waited for.
        if (n % 2 === 0) await client.query('SELECT save($1, $2)', [id, `t${n}`]);
        else {
          await client.query('BEGIN');
          await client.query('SELECT save($1, $2)', [id, `t${n}`]);
          await client.query('COMMIT');
        }
        this.acknowledged.set(id, `t${n}`);
        this.count += 1;
        await delay(5);
      } catch (error) {
        this.failed.push((error as Error).message);
        await client.query('ROLLBACK').catch(() => {});
      }
    }
    await client.end();
  }
}

describe.skipIf(!PGBOUNCER.found)('traffic through pgbouncer', () => {
  let pair: Pair;
  let instances: Pgbouncer[];
  let clients: Client[];
  let running: Running | undefined;
  let j: Journey;
  let ids: number[];

  beforeEach(async () => {
    pair = await freshPair();
    await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 500, seed: 'bouncer' }));
    const found = await rows<{ id: number }>(
      pair.blue.urls.superuser,
      `SELECT min(id) AS id FROM user_settings WHERE keycloak_user_id <> '' GROUP BY keycloak_user_id ORDER BY 1 LIMIT 80`,
    );
    ids = found.map((r) => r.id);
    clients = [];
    instances = [];
    running = undefined;
  });

  afterEach(async () => {
    await Promise.all(clients.map((client) => client.stop()));
    running?.kill();
    await running?.ended;
    await Promise.all(instances.map((instance) => instance.stop()));
    await pair.drop();
  });

  const start = async (mode: 'transaction' | 'session', environment: Record<string, string> = {}) => {
    instances = await Promise.all([startPgbouncer(pair, mode), startPgbouncer(pair, mode)]);
    j = journey(pair);
    running = j.run({
      ORCHESTRATE_TRAFFIC: 'pgbouncer',
      ORCHESTRATE_PGBOUNCER_CONSOLES: instances.map((i) => i.console).join(','),
      ORCHESTRATE_PGBOUNCER_DATABASE: 'app',
      ORCHESTRATE_PGBOUNCER_INCLUDE: instances.map((i) => i.include).join(','),
      ...environment,
    });
    await j.ready(running);
    await execute(pair.blue.urls.owner, SAVE.blue);
    await execute(pair.green.urls.owner, SAVE.green);
  };
  const writeThrough = (count: number) => {
    clients = Array.from(
      { length: count },
      (_, n) =>
        new Client(
          instances[n % instances.length]?.url ?? '',
          ids.filter((_id, i) => i % count === n),
        ),
    );
  };
  const moved = (count: number) => {
    const from = clients.map((client) => client.count);
    return until('every client to write on', () => clients.every((c, n) => c.count > (from[n] ?? 0) + count));
  };
  const shown = async (instance: Pgbouncer) => {
    const databases = await rows<{ name: string; database: string; paused: number | string }>(
      instance.console,
      'SHOW DATABASES',
    );
    const app = databases.find((d) => d.name === 'app');
    return { database: app?.database, paused: Number(app?.paused) };
  };

  it('transaction mode, two instances: no statement fails across cutover, revert and cutover', async () => {
    await start('transaction');
    writeThrough(8);
    let serving: 'blue' | 'green' = 'blue';
    for (const kind of ['cutover', 'revert', 'cutover'] as const) {
      await moved(5);
      const ended = await j.command(kind, '--yes', '--json', '--accept-parked', 'all');
      expect(ended.json<HandoverDocument>(), ended.stderr).toMatchObject({ outcome: 'done' });
      serving = otherSide(serving);
      for (const instance of instances)
        expect(await shown(instance)).toEqual({ database: pair[serving].database, paused: 0 });
      await moved(5);
    }
    await Promise.all(clients.map((client) => client.stop()));
    expect(clients.flatMap((client) => client.failed)).toEqual([]);
    const held = await rows<{ id: number; token: string }>(
      pair.green.urls.superuser,
      'SELECT id, llm_model AS token FROM settings WHERE id = ANY ($1)',
      [ids],
    );
    const promised = new Map(clients.flatMap((client) => [...client.acknowledged]));
    expect(promised.size).toBe(ids.length);
    expect(new Map(held.map(({ id, token }) => [id, token]))).toEqual(promised);
  });

  it('session mode: a pause that does not come about is undone, and the clients go on where they were', async () => {
    await start('session');
    writeThrough(2);
    await moved(5);
    const ended = await j.command(
      'cutover',
      '--yes',
      '--json',
      '--accept-parked',
      'all',
      '--freeze-budget',
      '3s',
    );
    expect(ended.exit, ended.stdout).toBe(5);
    expect(ended.json<HandoverDocument>()).toMatchObject({
      outcome: 'aborted',
      serving: 'blue',
      error: { code: 'TRAFFIC_FAILED' },
    });
    expect(running?.stderr()).toContain('pools sessions');
    for (const instance of instances)
      expect(await shown(instance)).toEqual({ database: pair.blue.database, paused: 0 });
    await moved(5);
    expect(clients.flatMap((client) => client.failed)).toEqual([]);
  });

  it('PAUSE for ever: a runner that dies after the pause leaves clients that are resumed at the deadline', async () => {
    await start('transaction', { ORCHESTRATE_TEST: '1', ORCHESTRATE_FAILPOINT: 'pause.after:crash' });
    writeThrough(2);
    await moved(5);
    const command = j.command(
      'cutover',
      '--yes',
      '--json',
      '--accept-parked',
      'all',
      '--freeze-budget',
      '3s',
      '--timeout',
      '2s',
    );
    await running?.ended;
    expect((await shown(instances[0] as Pgbouncer)).paused).toBe(1);
    await until(
      'the watchdog to resume',
      async () => (await Promise.all(instances.map(shown))).every((s) => s.paused === 0),
      10_000,
    );
    await moved(5);
    expect(clients.flatMap((client) => client.failed)).toEqual([]);
    await command;
  });

  it('check names the instance that leads elsewhere, and nothing is touched', async () => {
    instances = [await startPgbouncer(pair, 'transaction')];
    const [instance] = instances as [Pgbouncer];
    const driver = pgbouncerTraffic({
      consoles: [instance.console],
      database: 'app',
      includes: [instance.include],
    });
    const task = {
      migration: 'm',
      attempt: 'a',
      kind: 'revert',
      from: 'green',
      to: 'blue',
      deadline: 0,
    } as const;
    await expect(driver.check(task)).rejects.toMatchObject({ code: 'TRAFFIC_FAILED' });
    await expect(driver.check({ ...task, from: 'blue', to: 'green', kind: 'cutover' })).resolves.toEqual([]);
    expect(await shown(instance)).toEqual({ database: pair.blue.database, paused: 0 });
  });

  it('an instance that is down at the switch keeps the clients of the others waiting no longer', async () => {
    instances = await Promise.all([startPgbouncer(pair, 'transaction'), startPgbouncer(pair, 'transaction')]);
    const [up, down] = instances as [Pgbouncer, Pgbouncer];
    const driver = pgbouncerTraffic({
      consoles: [up.console, down.console],
      database: 'app',
      includes: [up.include, down.include],
    });
    const deadline = Date.now() / 1000 + 60;
    const task = {
      migration: 'm',
      attempt: 'a',
      kind: 'cutover',
      from: 'blue',
      to: 'green',
      deadline,
    } as const;
    await driver.pause(task);
    driver.decided();
    expect((await shown(up)).paused).toBe(1);
    await down.stop();
    await expect(driver.switch(task)).rejects.toThrow();
    expect(await shown(up)).toEqual({ database: pair.green.database, paused: 0 });
  });
});

/**
 * Forward and back three times in a row by the commands, while the old application writes on blue and the new one on
 * green: users born, deleted and given other keys on either, organisations renamed, members added (I2, I7, I8).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkPromises } from '../../orchestrator/rehearsal/comparison/promises.ts';
import { compareSides } from '../../orchestrator/rehearsal/comparison.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { Ledger } from '../../orchestrator/rehearsal/ledger.ts';
import { startWorkload, type Workload } from '../../orchestrator/rehearsal/workload.ts';
import type { HandoverDocument, VerifyDocument } from '../../orchestrator/state/documents.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const ROUNDS = 3;

let pair: Pair;
let j: Journey;
let running: Running | undefined;
let workload: Workload | undefined;
let directory: string;

beforeEach(async () => {
  pair = await freshPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 2_000, seed: 'rounds' }));
  directory = mkdtempSync(join(os.tmpdir(), 'orchestrate-rounds-'));
  j = journey(pair);
});
afterEach(async () => {
  await workload?.stop();
  running?.kill();
  await running?.ended;
  await pair.drop();
  rmSync(directory, { recursive: true, force: true });
});

/** One person whom the new application has signed up, as it does: three sequences, and an organisation by name. */
async function bornOnGreen(name: string): Promise<{ user: number; org: number }> {
  return withClient(pair.green.urls.app, async (client) => {
    const one = async (sql: string, values: unknown[]): Promise<number> =>
      (await client.query<{ id: number }>(sql, values)).rows[0]?.id ?? Number.NaN;
    await client.query('BEGIN');
    const user = await one('INSERT INTO "user" (keycloak_user_id) VALUES ($1) RETURNING id', [name]);
    const org = await one('INSERT INTO org (name) VALUES ($1) RETURNING id', [`user_${user}_org`]);
    await client.query(
      `INSERT INTO org_user (org_id, user_id, role_id, status) VALUES ($1, $2, 1, 'active')`,
      [org, user],
    );
    await client.query('INSERT INTO settings (org_id, language) VALUES ($1, $2)', [org, name]);
    await client.query('COMMIT');
    return { user, org };
  });
}

async function bornOnBlue(name: string): Promise<number> {
  const [born] = await rows<{ id: number }>(
    pair.blue.urls.app,
    `INSERT INTO user_settings (keycloak_user_id, language) VALUES ('${name}', '${name}') RETURNING id`,
  );
  return born?.id ?? Number.NaN;
}

const onBlue = (id: number) =>
  rows<{ key: string; language: string }>(
    pair.blue.urls.superuser,
    `SELECT keycloak_user_id AS key, language FROM user_settings WHERE id = ${id}`,
  );

it('three times forward and back: what either application wrote is on both sides, and no id is given twice', async () => {
  running = j.run({ ORCHESTRATE_ACCEPT_PARKED: 'all' });
  await j.ready(running);
  const ledger = new Ledger(join(directory, 'ledger'));
  workload = await startWorkload({
    databases: { blue: pair.blue.urls.app, green: pair.green.urls.app },
    ledger,
    clients: 4,
    rate: 60,
    exotic: 0.25,
  });
  const application = workload;
  const given = new Map<number, string>();
  const give = (id: number, whom: string): void => {
    expect([id, given.get(id)]).toEqual([id, undefined]);
    given.set(id, whom);
  };
  const written = async (): Promise<void> => {
    const from = application.statistics().acknowledged;
    await until('writes in this generation', () => application.statistics().acknowledged > from + 60);
  };
  const handOver = async (kind: 'cutover' | 'revert'): Promise<HandoverDocument> => {
    const ended = await j.command(kind, '--yes', '--json', '--accept-parked', 'all');
    expect([kind, ended.exit, ended.stderr]).toEqual([kind, 0, expect.anything()]);
    return ended.json<HandoverDocument>();
  };
  /** Both sides by the independent comparison and the ledger, and by the program's own sweep. */
  const right = async (serving: 'blue' | 'green'): Promise<void> => {
    await application.pause();
    const databases = { blue: pair.blue.urls.superuser, green: pair.green.urls.superuser };
    const compared = await compareSides({ databases, serving, greenWritten: true, settleMs: 30_000 });
    expect([serving, compared.differences]).toEqual([serving, []]);
    const kept = await checkPromises({ database: databases[serving], side: serving, ledger: ledger.path });
    expect(kept.lost).toEqual([]);
    const swept = (await j.command('verify', '--json')).json<VerifyDocument>();
    expect([serving, swept.mismatches]).toEqual([serving, []]);
    application.resume();
  };

  const guests: { user: number; org: number }[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const old = await bornOnBlue(`old ${round}`);
    give(old, `old ${round}`);
    await written();
    await handOver('cutover');
    await written();
    // What the revert before has left on green is there again, untouched (I8).
    for (const { user, org } of guests)
      expect(
        await rows(
          pair.green.urls.superuser,
          `SELECT o.name LIKE 'renamed %' AS renamed, count(*)::integer AS members
           FROM org AS o JOIN org_user AS m ON m.org_id = o.id WHERE o.id = ${org} GROUP BY o.name`,
        ),
      ).toEqual([{ renamed: true, members: guests.some((g) => g.user === user) ? 2 : 1 }]);

    const fresh = await bornOnGreen(`new ${round}`);
    give(fresh.user, `new ${round}`);
    const leaver = await bornOnGreen(`leaver ${round}`);
    give(leaver.user, `leaver ${round}`);
    await withClient(pair.green.urls.app, async (client) => {
      // An organisation renamed, a second member in it, another key, and one who leaves.
      await client.query('UPDATE org SET name = $2 WHERE id = $1', [fresh.org, `renamed ${round}`]);
      await client.query(
        `INSERT INTO org_user (org_id, user_id, role_id, status) VALUES ($1, $2, 2, 'invited')`,
        [fresh.org, old],
      );
      await client.query('UPDATE "user" SET keycloak_user_id = $2 WHERE id = $1', [old, `re-keyed ${round}`]);
      await client.query('DELETE FROM settings WHERE org_id = $1', [leaver.org]);
      await client.query('DELETE FROM org_user WHERE user_id = $1', [leaver.user]);
      await client.query('DELETE FROM "user" WHERE id = $1', [leaver.user]);
    });
    guests.push(fresh);
    await right('green');

    const asked = await j.command('revert', '--dry-run', '--json', '--accept-parked', 'all');
    const listed = asked.json<HandoverDocument>().not_revertible ?? [];
    const count = (what: RegExp): number => listed.find((fact) => what.test(fact.what))?.rows ?? 0;
    expect(count(/^second_members$/)).toBeGreaterThanOrEqual(round);
    expect(count(/^changed_organisations$/)).toBeGreaterThanOrEqual(round);
    await handOver('revert');
    await written();
    await right('blue');
    expect(await onBlue(fresh.user)).toEqual([{ key: `new ${round}`, language: `new ${round}` }]);
    expect(await onBlue(leaver.user)).toEqual([]);
    expect(await onBlue(old)).toMatchObject([{ key: `re-keyed ${round}` }]);
  }
  const statistics = await application.stop();
  expect([statistics.unknown, statistics.signUps > 0, statistics.deletes > 0]).toEqual([0, true, true]);
  // Ids that the application's own sign-ups got, on either side, are nobody's twice.
  const [twice] = await rows<{ n: number }>(
    pair.blue.urls.superuser,
    'SELECT (count(*) - count(DISTINCT id))::integer AS n FROM user_settings',
  );
  expect(twice?.n).toBe(0);
});

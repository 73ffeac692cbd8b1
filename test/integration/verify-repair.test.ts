/** `verify --repair`: the named keys, derived anew from the serving side; everything else keeps its bytes. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { transaction } from '../../orchestrator/pg/transaction.ts';
import { documentOf } from '../../orchestrator/phases/sweep.ts';
import { copyRows, makeUsers, settleTable, withTextSession } from '../../orchestrator/rehearsal/generator.ts';
import { makeZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import { holdClaim } from '../../orchestrator/state/claim.ts';
import { awaitVisible } from '../../orchestrator/verify/quiet.ts';
import { repair } from '../../orchestrator/verify/repair.ts';
import { sweep } from '../../orchestrator/verify/sweep.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { copied } from '../support/green-serving.ts';
import type { TestContext } from '../support/run-context.ts';
import { rows, withClient } from '../support/sql.ts';
import { StillApplier } from '../support/still-applier.ts';

let pair: Pair;
let ctx: TestContext;
let planter: pg.Client;

beforeAll(async () => {
  pair = await freshPair();
  await withTextSession(pair.blue.urls.superuser, 'zoo', 'public', async (client) => {
    await copyRows(client, makeZoo({ rows: 400 }));
    await copyRows(client, makeUsers({ users: 300, seed: 7, firstId: 1_000 }));
    await settleTable(client);
  });
  ctx = await copied(pair);
  planter = new pg.Client({ connectionString: pair.green.urls.superuser });
  await planter.connect();
  await planter.query('SET session_replication_role = replica');
  await planter.query(`SET SESSION AUTHORIZATION "${pair.green.roles.sync}"`);
});

afterAll(async () => {
  await planter.end();
  await pair.drop();
});

/** The applier of a pair that stands still, with a session on green to repair in. */
class RepairingApplier extends StillApplier {
  between<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    return withClient(pair.green.urls.sync, (client) =>
      transaction(client, async () => {
        await holdClaim(client, ctx.claim());
        return work(client);
      }),
    );
  }
}

const CONTENT = `
  SELECT 'org' AS t, md5(string_agg(x::text, '|' ORDER BY id)) AS d FROM org AS x
  UNION ALL SELECT 'user', md5(string_agg(x::text, '|' ORDER BY id)) FROM "user" AS x
  UNION ALL SELECT 'org_user', md5(string_agg(x::text, '|' ORDER BY org_id, user_id)) FROM org_user AS x
  UNION ALL SELECT 'settings', md5(string_agg(x::text, '|' ORDER BY id)) FROM settings AS x
  UNION ALL SELECT 'role', md5(string_agg(x::text, '|' ORDER BY id)) FROM role AS x
  UNION ALL SELECT 'parked', md5(string_agg(x::text, '|' ORDER BY id)) FROM orchestrator.parked AS x
  ORDER BY 1`;

const content = () => rows(pair.green.urls.superuser, CONTENT);

const PLANTED: Readonly<Record<string, string>> = {
  'a changed fact': `UPDATE settings SET llm_model = 'other' WHERE id IN (5, 1000); UPDATE "user" SET accepted_tos = NULL WHERE id = 1001`,
  'another key': `UPDATE "user" SET keycloak_user_id = 'somebody else' WHERE id = 1002`,
  'missing rows of a user': `DELETE FROM settings WHERE id = 1003; DELETE FROM org WHERE id = 1004; DELETE FROM org_user WHERE user_id = 1005`,
  'a user missing altogether': `DELETE FROM settings WHERE id = 1006; DELETE FROM org_user WHERE user_id = 1006;
     DELETE FROM "user" WHERE id = 1006; DELETE FROM org WHERE id = 1006`,
  constants: `UPDATE org SET name = 'x', contact_name = 'y' WHERE id = 1007; UPDATE "user" SET role_id = 2 WHERE id = 1007;
     UPDATE org_user SET role_id = 2, status = 'gone' WHERE user_id = 1007`,
  'extra rows': `INSERT INTO org_user VALUES (1000, 1001, 2, 'active'); INSERT INTO org (id, name) VALUES (900, 'user_900_org');
     INSERT INTO settings (id, org_id) VALUES (901, 900); INSERT INTO "user" (id, keycloak_user_id) VALUES (902, 'k902')`,
  'settings in another organisation': `DELETE FROM settings WHERE id = 1012; UPDATE settings SET org_id = 1012 WHERE id = 1011`,
  'parked rows': `DELETE FROM orchestrator.parked WHERE id IN (1, 3, 23); UPDATE orchestrator.parked SET agent = 'x' WHERE id = 2`,
  roles: `UPDATE role SET rank = 7 WHERE id = 2; INSERT INTO role VALUES (9, 'nine', 9)`,
};

describe('repair while blue serves', () => {
  it.each(Object.entries(PLANTED))('%s', async (_, sql) => {
    const before = await content();
    await planter.query(sql);
    const applier = new RepairingApplier();
    const found = await sweep(ctx, { serving: 'blue', applier, chunkRows: 200 });
    expect(found.clean).toBe(false);
    const keys = new Set(found.mismatches.filter((m) => m.table !== 'role').map((m) => m.key));
    expect(await repair(ctx, applier, documentOf(found).mismatches, 'blue')).toBe(keys.size);
    const again = await sweep(ctx, { serving: 'blue', applier, chunkRows: 200 });
    expect(again.mismatches).toEqual([]);
    expect(again.clean).toBe(true);
    expect(await content()).toEqual(before);
    expect(ctx.entries.at(-1)?.event).toBe('repair');
  });

  it('reads nothing that is older than what has been applied (HISTORIES 31)', async () => {
    await withClient(pair.blue.urls.app, async (writer) => {
      await writer.query('BEGIN');
      await writer.query(`UPDATE user_settings SET agent = 'v2' WHERE id = 1020`);
      await withClient(pair.blue.urls.sync, async (reader) => {
        await expect(awaitVisible(reader, ctx, 'blue', 100)).rejects.toMatchObject({ code: 'NOT_VISIBLE' });
        const waiting = awaitVisible(reader, ctx, 'blue', 10_000);
        await writer.query('COMMIT');
        await waiting;
        const { rows: found } = await reader.query('SELECT agent FROM public.user_settings WHERE id = 1020');
        expect(found).toEqual([{ agent: 'v2' }]);
      });
    });
  });
});

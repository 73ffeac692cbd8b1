import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NothingToCompare } from '../../orchestrator/rehearsal/comparison/difference.ts';
import { checkPromises } from '../../orchestrator/rehearsal/comparison/promises.ts';
import { type CompareRequest, compareSides } from '../../orchestrator/rehearsal/comparison.ts';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import { digestOf } from '../../orchestrator/rehearsal/ledger/event.ts';
import { Ledger } from '../../orchestrator/rehearsal/ledger.ts';
import { loadValueZoo } from '../../orchestrator/rehearsal/value-zoo.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { copyByHand, createOrgModel } from '../support/org-model.ts';
import { execute, rows } from '../support/sql.ts';

let pair: Pair;

const request = (more: Partial<CompareRequest> = {}): CompareRequest => ({
  databases: { blue: pair.blue.urls.owner, green: pair.green.urls.owner },
  serving: 'blue',
  greenWritten: false,
  settleMs: 0,
  ...more,
});

beforeAll(async () => {
  pair = await freshPair();
  await createOrgModel(pair);
});
afterAll(() => pair.drop());

describe('comparison of both sides', () => {
  it('refuses to call two empty sides equal', async () => {
    await expect(compareSides(request())).rejects.toThrow(NothingToCompare);
  });

  it('finds a copy made by hand equal, zoo and parked rows included', async () => {
    await loadValueZoo(pair.blue.urls.owner, { longestBytes: 200_000 });
    await loadUsers(pair.blue.urls.owner, { users: 4_000, seed: 5, firstId: 2_001 });
    await copyByHand(pair);
    const found = await compareSides(request());
    expect(found).toMatchObject({ clean: true, total: 0, blueRows: 5_000, differences: [] });
    expect(found.parked).toBeGreaterThan(6);
    expect(found.mapped + found.parked).toBe(5_000);
  });

  /** Each spoils one thing on one side, and says how it must be reported and how it is put right again. */
  const spoils: {
    what: string;
    side?: 'blue' | 'green';
    sql: string;
    /** Where it is missing, the tables are put back from a copy. */
    undo?: string;
    expected: object[];
  }[] = [
    {
      what: 'one byte of one secret',
      sql: `UPDATE settings SET llm_api_key = overlay(llm_api_key placing '!' from 5) WHERE id = 2500`,
      expected: [{ kind: 'different', key: 2500, table: 'settings', columns: ['llm_api_key'] }],
    },
    {
      what: 'NULL in place of the empty string',
      sql: `UPDATE settings SET agent = NULL WHERE id = (SELECT min(id) FROM settings WHERE agent = '')`,
      expected: [{ kind: 'different', table: 'settings', columns: ['agent'] }],
    },
    {
      what: 'json that was parsed and printed again',
      sql: `UPDATE settings SET mcp_config = '{"a": null}' WHERE id = (SELECT min(id) FROM settings WHERE mcp_config::text = '{"a": 1, "a": 2, "a": null}')`,
      expected: [{ kind: 'different', table: 'settings', columns: ['mcp_config'] }],
    },
    {
      what: 'a microsecond, and minus zero made zero',
      sql: `UPDATE "user" SET accepted_tos = accepted_tos + interval '1 microsecond' WHERE id = (SELECT min(id) FROM "user" WHERE accepted_tos::text LIKE '2024%');
            UPDATE settings SET billing_margin = 0 WHERE id = (SELECT min(id) FROM settings WHERE billing_margin::text = '-0')`,
      expected: [
        { kind: 'different', table: 'settings', columns: ['billing_margin'] },
        { kind: 'different', table: 'user', columns: ['accepted_tos'] },
      ],
    },
    {
      what: 'a row that is missing on green',
      sql: `DELETE FROM orchestrator.parked WHERE id = (SELECT min(id) FROM orchestrator.parked WHERE reason = 'empty_key')`,
      expected: [{ kind: 'missing', table: 'user_settings', columns: [] }],
    },
    {
      what: 'a row that only green has',
      side: 'blue',
      sql: 'CREATE TABLE away AS SELECT * FROM user_settings WHERE id = 2600; DELETE FROM user_settings WHERE id = 2600',
      undo: 'INSERT INTO user_settings SELECT * FROM away; DROP TABLE away',
      expected: [{ kind: 'extra', key: 2600, table: 'user', columns: [] }],
    },
    {
      what: 'a membership that is missing',
      sql: 'DELETE FROM org_user WHERE org_id = 2700',
      undo: `INSERT INTO org_user VALUES (2700, 2700, 1, 'active')`,
      expected: [{ kind: 'own-row', key: 2700, table: 'org_user' }],
    },
    {
      what: 'a constant of another value',
      sql: `UPDATE org SET name = 'somebody' WHERE id = 2700; UPDATE org_user SET status = 'invited' WHERE org_id = 2701`,
      undo: `UPDATE org SET name = 'user_2700_org' WHERE id = 2700; UPDATE org_user SET status = 'active' WHERE org_id = 2701`,
      expected: [
        { kind: 'constant', key: 2700, table: 'org', columns: ['name'] },
        { kind: 'constant', key: 2701, table: 'org_user', columns: ['status'] },
      ],
    },
    {
      what: 'an organisation that is nobody’s',
      sql: `INSERT INTO org (id, name) VALUES (77777777, 'stranger')`,
      undo: 'DELETE FROM org WHERE id = 77777777',
      expected: [{ kind: 'extra', key: 77_777_777, table: 'org' }],
    },
    {
      what: 'a wrong reason',
      sql: `UPDATE orchestrator.parked SET reason = 'duplicate' WHERE id = (SELECT min(id) FROM orchestrator.parked WHERE reason = 'null_key')`,
      undo: `UPDATE orchestrator.parked SET reason = 'null_key' WHERE keycloak_user_id IS NULL`,
      expected: [{ kind: 'reason', table: 'parked' }],
    },
    {
      what: 'a key that changed on blue alone',
      side: 'blue',
      sql: `UPDATE user_settings SET keycloak_user_id = 'changed' WHERE id = (SELECT min(id) FROM user_settings WHERE keycloak_user_id = 'repeated-key')`,
      undo: `UPDATE user_settings SET keycloak_user_id = 'repeated-key' WHERE keycloak_user_id = 'changed'`,
      expected: [{ kind: 'different', table: 'user', columns: ['keycloak_user_id'] }],
    },
  ];

  it.each(spoils.filter((s) => s.undo !== undefined))(
    'finds $what',
    async ({ side, sql, undo, expected }) => {
      const url = pair[side ?? 'green'].urls.owner;
      await execute(url, sql);
      try {
        const found = await compareSides(request());
        expect(found.clean).toBe(false);
        expect(found.total).toBe(expected.length);
        for (const difference of expected)
          expect(found.differences).toContainEqual(expect.objectContaining(difference));
      } finally {
        await execute(url, undo as string);
      }
      expect(await compareSides(request())).toMatchObject({ clean: true });
    },
  );

  it.each(spoils.filter((s) => s.undo === undefined))('finds $what', async ({ sql, expected }) => {
    await execute(
      pair.green.urls.owner,
      `CREATE TABLE saved_settings AS SELECT * FROM settings;
       CREATE TABLE saved_user AS SELECT * FROM "user";
       CREATE TABLE saved_parked AS SELECT * FROM orchestrator.parked`,
    );
    await execute(pair.green.urls.owner, sql);
    try {
      const found = await compareSides(request());
      expect(found.total).toBe(expected.length);
      for (const difference of expected)
        expect(found.differences).toContainEqual(expect.objectContaining(difference));
      expect(JSON.stringify(found)).not.toContain('sk-');
    } finally {
      await execute(
        pair.green.urls.owner,
        `UPDATE settings SET llm_api_key = s.llm_api_key, agent = s.agent, mcp_config = s.mcp_config,
           billing_margin = s.billing_margin FROM saved_settings s WHERE s.id = settings.id;
         UPDATE "user" SET accepted_tos = s.accepted_tos FROM saved_user s WHERE s.id = "user".id;
         DELETE FROM orchestrator.parked; INSERT INTO orchestrator.parked SELECT * FROM saved_parked;
         DROP TABLE saved_settings, saved_user, saved_parked`,
      );
    }
    expect(await compareSides(request())).toMatchObject({ clean: true });
  });

  it('finds a key that waits with nobody holding it, unless green serves', async () => {
    const change = `WHERE keycloak_user_id = 'repeated-key' AND id = (SELECT min(id) FROM user_settings WHERE keycloak_user_id = 'repeated-key')`;
    await execute(pair.blue.urls.owner, `UPDATE user_settings SET keycloak_user_id = 'elsewhere' ${change}`);
    await execute(
      pair.green.urls.owner,
      `UPDATE "user" SET keycloak_user_id = 'elsewhere' WHERE keycloak_user_id = 'repeated-key'`,
    );
    const found = await compareSides(request());
    expect(found.differences.map((d) => d.kind)).toEqual(['vacant', 'vacant']);
    expect(await compareSides(request({ serving: 'green' }))).toMatchObject({ clean: true });
    await execute(
      pair.blue.urls.owner,
      `UPDATE user_settings SET keycloak_user_id = 'repeated-key' WHERE keycloak_user_id = 'elsewhere'`,
    );
    await execute(
      pair.green.urls.owner,
      `UPDATE "user" SET keycloak_user_id = 'repeated-key' WHERE keycloak_user_id = 'elsewhere'`,
    );
  });

  it('knows a user born on green by the link, renamed organisation or not', async () => {
    await execute(
      pair.green.urls.owner,
      `INSERT INTO "user" (id, keycloak_user_id) VALUES (9001, 'born-on-green');
       INSERT INTO org (id, name) VALUES (94711, 'renamed');
       INSERT INTO org_user VALUES (94711, 9001, 1, 'active');
       INSERT INTO settings (id, org_id, settings_version, language) VALUES (98812, 94711, 4, 'ja');
       INSERT INTO orchestrator.link VALUES (9001, 94711, 98812)`,
    );
    await execute(
      pair.blue.urls.owner,
      `INSERT INTO user_settings (id, keycloak_user_id, user_version, language) VALUES (9001, 'born-on-green', 4, 'ja')`,
    );
    expect(await compareSides(request({ serving: 'green', greenWritten: true }))).toMatchObject({
      clean: true,
    });
    await execute(pair.green.urls.owner, 'DELETE FROM orchestrator.link');
    const found = await compareSides(request({ serving: 'green', greenWritten: true }));
    expect(found.differences).toContainEqual(expect.objectContaining({ kind: 'different', key: 9001 }));
    expect(found.differences).toContainEqual(expect.objectContaining({ kind: 'own-row', key: 9001 }));
    await execute(
      pair.green.urls.owner,
      `DELETE FROM settings WHERE id = 98812; DELETE FROM org_user WHERE user_id = 9001;
       DELETE FROM org WHERE id = 94711; DELETE FROM "user" WHERE id = 9001`,
    );
    await execute(pair.blue.urls.owner, 'DELETE FROM user_settings WHERE id = 9001');
  });

  it('waits for what a stream is still carrying over', async () => {
    await execute(pair.blue.urls.owner, `UPDATE user_settings SET language = 'late' WHERE id = 2800`);
    const comparing = compareSides(request({ settleMs: 20_000 }));
    await execute(pair.green.urls.owner, `UPDATE settings SET language = 'late' WHERE id = 2800`);
    expect(await comparing).toMatchObject({ clean: true });
  });
});

describe('promises of the ledger', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ledger-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  let files = 0;
  const newLedger = (): Ledger => {
    files += 1;
    return new Ledger(join(folder, `${files}.jsonl`));
  };
  const check = (ledger: Ledger): ReturnType<typeof checkPromises> =>
    checkPromises({ database: pair.blue.urls.owner, side: 'blue', ledger: ledger.path });

  function write(
    ledger: Ledger,
    op: string,
    user: number,
    value: string,
    end: 'acknowledged' | 'unknown' | 'open',
  ): void {
    ledger.sent({
      op,
      attempt: 1,
      side: 'blue',
      kind: 'save',
      subject: { user },
      writes: { llm_api_key: digestOf(value) },
      deletes: false,
    });
    if (end === 'acknowledged') ledger.acknowledged(op, 'blue');
    if (end === 'unknown') ledger.unknown(op, 'blue', '57P01');
  }
  const set = (user: number, value: string): Promise<void> =>
    execute(pair.blue.urls.owner, `UPDATE user_settings SET llm_api_key = '${value}' WHERE id = ${user}`);

  it('need at least one acknowledged write', async () => {
    const ledger = newLedger();
    write(ledger, 'a', 3_000, 'v1', 'unknown');
    await expect(check(ledger)).rejects.toThrow(NothingToCompare);
  });

  it('are kept by the last acknowledged value, and broken by an older one', async () => {
    const ledger = newLedger();
    write(ledger, 'a', 3_000, 'v1', 'acknowledged');
    write(ledger, 'b', 3_000, 'v2', 'acknowledged');
    await set(3_000, 'v2');
    expect(await check(ledger)).toMatchObject({ clean: true, acknowledged: 2, users: 1, facts: 1 });
    await set(3_000, 'v1');
    expect((await check(ledger)).lost).toEqual([
      { kind: 'lost', key: 3_000, table: 'user_settings', columns: ['llm_api_key'] },
    ]);
  });

  it('allow both results of a write whose outcome is unknown, and no third', async () => {
    const ledger = newLedger();
    write(ledger, 'a', 3_001, 'v1', 'acknowledged');
    write(ledger, 'b', 3_001, 'v2', 'unknown');
    write(ledger, 'c', 3_002, 'v1', 'acknowledged');
    write(ledger, 'd', 3_002, 'v3', 'open');
    for (const [value, other, clean] of [
      ['v1', 'v1', true],
      ['v2', 'v3', true],
      ['v0', 'v1', false],
      ['v1', 'v2', false],
    ] as const) {
      await set(3_001, value);
      await set(3_002, other);
      expect((await check(ledger)).clean, `${value} ${other}`).toBe(clean);
    }
  });

  it('are broken by a row that is gone, and by one that came back', async () => {
    const ledger = newLedger();
    write(ledger, 'a', 4_999_999, 'v1', 'acknowledged');
    expect((await check(ledger)).lost).toMatchObject([{ key: 4_999_999, columns: ['llm_api_key'] }]);
    const deleted = newLedger();
    deleted.sent({
      op: 'a',
      attempt: 1,
      side: 'green',
      kind: 'delete',
      subject: { user: 3_003 },
      writes: {},
      deletes: true,
    });
    deleted.acknowledged('a', 'green');
    expect((await check(deleted)).lost).toMatchObject([{ key: 3_003, columns: ['id'] }]);
  });

  it('reach every user of a whole-table statement', async () => {
    const ledger = newLedger();
    const everyone = { op: 'a', attempt: 1, side: 'blue', kind: 'everyone', deletes: false } as const;
    ledger.sent({
      ...everyone,
      subject: { everyUserUpTo: 5_000 },
      writes: { sandbox_base_container_image: digestOf('all') },
    });
    ledger.acknowledged('a', 'blue');
    await execute(pair.blue.urls.owner, `UPDATE user_settings SET sandbox_base_container_image = 'all'`);
    expect(await check(ledger)).toMatchObject({ clean: true });
    await execute(
      pair.blue.urls.owner,
      `UPDATE user_settings SET sandbox_base_container_image = NULL WHERE id = 3004`,
    );
    expect((await check(ledger)).lost).toMatchObject([
      { key: 3_004, columns: ['sandbox_base_container_image'] },
    ]);
    const [row] = await rows<{ n: number }>(
      pair.blue.urls.owner,
      'SELECT count(*)::int AS n FROM user_settings WHERE id <= 5000',
    );
    expect(row?.n).toBeGreaterThan(3_000);
  });
});

import pg from 'pg';
import { Sequelize } from 'sequelize';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { migrateUp } from '../../migrations/migrator.ts';
import { clientConfig } from '../../orchestrator/pg/connect.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import { createStores, SOURCE_COLUMNS, type Stores } from '../../src/index.ts';
import { columnsOf } from '../../src/mapping/columns.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { SCHEMAS } from '../support/run-context.ts';
import { execute } from '../support/sql.ts';

let pair: Pair;
let sequelize: Sequelize;
let old: Sequelize;
let stores: Stores;
const statements: string[] = [];

const open = (url: string, logging: (sql: string) => void = () => undefined): Sequelize =>
  new Sequelize(url, { dialect: 'postgres', dialectModule: pg, logging });

beforeAll(async () => {
  pair = await freshPair();
  const config = clientConfig(parseEndpoint('green', pair.green.urls.sync), { purpose: 'test' });
  await migrateUp({ config, schemas: SCHEMAS, owner: pair.green.roles.owner, inPlace: false });
  sequelize = open(pair.green.urls.app, (sql) => void statements.push(sql));
  old = open(pair.blue.urls.app);
  stores = createStores(sequelize);
});
afterAll(async () => {
  await sequelize?.close();
  await old?.close();
  await pair?.drop();
});

/** Runs a method and checks that it was one statement. */
async function once<T>(work: () => Promise<T>): Promise<T> {
  statements.length = 0;
  const result = await work();
  expect(statements).toHaveLength(1);
  return result;
}

const code = async (work: () => Promise<unknown>): Promise<string | undefined> =>
  work().then(
    () => undefined,
    (error: { parent?: { code?: string } }) => error.parent?.code,
  );

test('the models have exactly the columns of the mapping', () => {
  const names = (model: { getAttributes(): object }) => Object.keys(model.getAttributes()).sort();
  expect(names(stores.models.UserSettings)).toEqual(SOURCE_COLUMNS.map((c) => c.name).sort());
  expect(names(stores.models.Settings)).toEqual(
    ['id', 'org_id', 'user_id', ...columnsOf('settings').map((c) => c.as)].sort(),
  );
});

test('roles', async () => {
  const { roles } = stores;
  expect((await once(() => roles.listRoles())).map((r) => [r.id, r.name, r.rank])).toEqual([
    [1, 'admin', 1],
    [2, 'user', 1000],
  ]);
  const guest = await once(() => roles.createRole({ name: 'guest', rank: 5000 }));
  expect(guest).toEqual({ id: 3, name: 'guest', rank: 5000 });
  expect(await once(() => roles.getRoleById(3))).toEqual(guest);
  expect(await once(() => roles.getRoleByName('guest'))).toEqual(guest);
  expect(await once(() => roles.updateRole(3, { rank: 4000 }))).toEqual({ ...guest, rank: 4000 });
  expect(await roles.updateRole(99, { rank: 1 })).toBe(null);
  expect(await code(() => roles.createRole({ name: 'guest', rank: 1 }))).toBe('23505');
  expect(await once(() => roles.removeRole(3))).toBe(true);
  expect(await roles.removeRole(3)).toBe(false);
  expect(await roles.getRoleById(3)).toBe(null);
});

test('organisations', async () => {
  const { orgs } = stores;
  const made = await once(() => orgs.createOrg({ name: "Bob's \\ org; --", contact_email: null }));
  expect(made).toMatchObject({ name: "Bob's \\ org; --", contact_name: null, conversation_expiration: null });
  expect(await once(() => orgs.getOrgByName("Bob's \\ org; --"))).toEqual(made);
  const changed = await once(() =>
    orgs.updateOrg(made.id, { contact_name: '宮崎 👩‍💻', conversation_expiration: 7 }),
  );
  expect(changed).toMatchObject({ contact_name: '宮崎 👩‍💻', conversation_expiration: 7, name: made.name });
  const more = [await orgs.createOrg({ name: 'a' }), await orgs.createOrg({ name: 'b' })];
  expect((await once(() => orgs.listOrgs({ limit: 1, afterId: made.id }))).map((o) => o.name)).toEqual(['a']);
  for (const o of more) expect(await once(() => orgs.removeOrg(o.id))).toBe(true);
  expect(await once(() => orgs.getOrgById(made.id))).toEqual(changed);
});

test('users, with a timestamp that no Date can hold', async () => {
  const { users } = stores;
  const made = await once(() =>
    users.createUser({ keycloak_user_id: 'U-1', accepted_tos: '2024-02-29 23:59:59.123456' }),
  );
  expect(made).toEqual({
    id: made.id,
    keycloak_user_id: 'U-1',
    role_id: null,
    accepted_tos: '2024-02-29 23:59:59.123456',
    enable_sound_notifications: null,
  });
  expect(await once(() => users.getUserByKeycloakId('U-1'))).toEqual(made);
  expect(await users.getUserByKeycloakId('u-1')).toBe(null);
  expect(await once(() => users.updateUser(made.id, { accepted_tos: 'infinity', role_id: 1 }))).toMatchObject(
    {
      accepted_tos: 'infinity',
      role_id: 1,
    },
  );
  // The model reads it as text too.
  expect((await stores.models.User.findByPk(made.id))?.accepted_tos).toBe('infinity');
  expect(await once(() => users.getUserById(made.id))).toMatchObject({ keycloak_user_id: 'U-1' });
  expect(await code(() => users.createUser({ keycloak_user_id: 'U-1' }))).toBe('23505');
  const second = await users.createUser({ keycloak_user_id: 'U-2' });
  expect((await once(() => users.listUsers())).map((u) => u.keycloak_user_id)).toEqual(['U-1', 'U-2']);
  expect(await once(() => users.removeUser(second.id))).toBe(true);
});

test('memberships', async () => {
  const { orgUsers, orgs, users } = stores;
  const org = await orgs.createOrg({ name: 'm1' });
  const other = await orgs.createOrg({ name: 'm2' });
  const user = await users.createUser({ keycloak_user_id: 'M' });
  const made = await once(() => orgUsers.createOrgUser({ org_id: org.id, user_id: user.id, role_id: 2 }));
  expect(made).toEqual({ org_id: org.id, user_id: user.id, role_id: 2, status: null });
  await orgUsers.createOrgUser({ org_id: other.id, user_id: user.id, role_id: 1, status: 'active' });
  expect(await once(() => orgUsers.getUserOrgs(user.id))).toEqual([
    {
      org_id: other.id,
      user_id: user.id,
      role_id: 1,
      status: 'active',
      org_name: 'm2',
      role_name: 'admin',
      role_rank: 1,
    },
    {
      org_id: org.id,
      user_id: user.id,
      role_id: 2,
      status: null,
      org_name: 'm1',
      role_name: 'user',
      role_rank: 1000,
    },
  ]);
  expect(await once(() => orgUsers.getOrgUsers(org.id))).toEqual([made]);
  expect(await once(() => orgUsers.updateOrgUser(org.id, user.id, { status: 'left' }))).toMatchObject({
    status: 'left',
  });
  expect(await once(() => orgUsers.getOrgUser(org.id, user.id))).toMatchObject({ status: 'left' });
  expect(await code(() => orgUsers.createOrgUser({ org_id: org.id, user_id: user.id, role_id: 1 }))).toBe(
    '23505',
  );
  expect(await code(() => orgUsers.createOrgUser({ org_id: org.id, user_id: 999, role_id: 1 }))).toBe(
    '23503',
  );
  expect(await once(() => orgUsers.removeOrgUser(org.id, user.id))).toBe(true);
  expect(await orgUsers.getOrgUser(org.id, user.id)).toBe(null);
});

test('settings: narrow changes, defaults, JSON as text', async () => {
  const { settings, orgs, users } = stores;
  const org = await orgs.createOrg({ name: 's1' });
  const user = await users.createUser({ keycloak_user_id: 'S' });
  const json = '{"b": 1.10,  "a": "\\u0000", "b": 12345678901234567890}';
  const made = await once(() =>
    settings.createSettings({ org_id: org.id, mcp_config: json, billing_margin: Number.NaN }),
  );
  expect(made).toMatchObject({
    org_id: org.id,
    user_id: null,
    settings_version: 0,
    enable_default_condenser: true,
    enable_proactive_conversation_starters: true,
    mcp_config: json,
    language: null,
  });
  expect(made.billing_margin).toBeNaN();
  const own = await settings.createSettings({ org_id: org.id, user_id: user.id, language: 'ja' });
  expect((await once(() => settings.getOrgSettings(org.id)))?.id).toBe(made.id);
  expect((await once(() => settings.getUserSettings(org.id, user.id)))?.id).toBe(own.id);
  const changed = await once(() =>
    settings.updateOrgSettings(org.id, { llm_model: 'm ', enable_default_condenser: false }),
  );
  expect(changed).toMatchObject({
    id: made.id,
    llm_model: 'm ',
    enable_default_condenser: false,
    mcp_config: json,
  });
  expect(statements[0]).not.toMatch(/SET.*mcp_config" =/);
  expect((await settings.getSettingsById(own.id))?.language).toBe('ja');
  expect(await once(() => settings.updateSettings(own.id, { language: null }))).toMatchObject({
    language: null,
  });
  expect((await settings.listSettings({ afterId: made.id })).map((s) => s.id)).toEqual([own.id]);
  expect(await code(() => settings.createSettings({ org_id: org.id }))).toBe('23505');
  expect(await code(() => settings.createSettings({}))).toBe('23514');
  expect(await once(() => settings.removeSettings(own.id))).toBe(true);
});

test('the old table', async () => {
  const { userSettings } = createStores(old);
  const made = await userSettings.createUserSettings({
    keycloak_user_id: 'K',
    accepted_tos: '-infinity',
    email: 'e',
  });
  await userSettings.createUserSettings({ keycloak_user_id: 'K' });
  expect(made).toMatchObject({ user_version: 0, accepted_tos: '-infinity', mcp_config: null });
  expect((await userSettings.getUserSettingsByKeycloakId('K'))?.id).toBe(made.id);
  expect(await userSettings.updateUserSettings(made.id, { mcp_config: 'null' })).toMatchObject({
    mcp_config: 'null',
  });
  expect(await userSettings.getUserSettingsById(made.id)).toMatchObject({ mcp_config: 'null', email: 'e' });
  expect(await userSettings.listUserSettings()).toHaveLength(2);
  expect(await userSettings.removeUserSettings(made.id)).toBe(true);
});

test('a transaction of the caller holds every store together', async () => {
  const { orgs, users, orgUsers, settings } = stores;
  const signUp = async (fail: boolean): Promise<void> =>
    sequelize.transaction(async (transaction) => {
      const org = await orgs.createOrg({ name: 'signed-up' }, { transaction });
      const user = await users.createUser({ keycloak_user_id: 'signed-up' }, { transaction });
      await orgUsers.createOrgUser(
        { org_id: org.id, user_id: user.id, role_id: 1, status: 'active' },
        { transaction },
      );
      await settings.createSettings({ org_id: org.id }, { transaction });
      expect(await users.getUserByKeycloakId('signed-up')).toBe(null);
      if (fail) throw new Error('changed my mind');
    });
  await expect(signUp(true)).rejects.toThrow('changed my mind');
  expect(await orgs.getOrgByName('signed-up')).toBe(null);
  await signUp(false);
  const user = await users.getUserByKeycloakId('signed-up');
  expect(await orgUsers.getUserOrgs(user?.id ?? 0)).toHaveLength(1);
});

test('a column that is not one of the model is refused before anything is sent', async () => {
  const bad = { 'name" = 1; --': 'x' } as unknown as { name: string };
  await expect(stores.orgs.updateOrg(1, bad)).rejects.toThrow(RangeError);
});

test('the fence speaks to the application through a store as well', async () => {
  await execute(
    pair.green.urls.owner,
    `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '25006'; END $$;
     CREATE TRIGGER refuse BEFORE INSERT ON org FOR EACH STATEMENT EXECUTE FUNCTION refuse()`,
  );
  expect(await code(() => stores.orgs.createOrg({ name: 'late' }))).toBe('25006');
  await execute(pair.green.urls.owner, 'DROP TRIGGER refuse ON org; DROP FUNCTION refuse()');
});

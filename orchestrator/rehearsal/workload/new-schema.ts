import { type Attempt, NothingWritten } from './attempt.ts';
import { type Application, insertReturningId, updateById } from './old-schema.ts';
import { EVERYONE_COLUMN, type Operation, type Values } from './operation.ts';

/**
 * A user with the organisation that is the user's own (the one where the user is admin, role 1 as seeded) and its
 * settings.
 */
const READ_USER = `
  SELECT u.id AS user_id, u.keycloak_user_id, u.accepted_tos, ou.org_id AS own_org_id, s.*, s.id AS settings_id
  FROM "user" u
  JOIN org_user ou ON ou.user_id = u.id AND ou.role_id = 1
  JOIN settings s ON s.org_id = ou.org_id AND s.user_id IS NULL
  WHERE u.id = $1
  ORDER BY ou.org_id
  LIMIT 1`;

const INSERT_ORG = 'INSERT INTO org (name) VALUES ($1) RETURNING id';

const INSERT_ADMIN = `
  INSERT INTO org_user (org_id, user_id, role_id, status)
  VALUES ($1, $2, (SELECT id FROM role WHERE name = 'admin'), 'active')`;

const INSERT_MEMBER = `
  INSERT INTO org_user (org_id, user_id, role_id, status)
  VALUES ($1, $2, (SELECT id FROM role WHERE name = 'user'), 'invited')
  ON CONFLICT DO NOTHING`;

const UPDATE_EVERYONE = `UPDATE settings SET ${EVERYONE_COLUMN} = $1 WHERE user_id IS NULL`;

const RENAME_ORG = 'UPDATE org SET name = $2 WHERE id = $1';

const INSERT_OWN_SETTINGS = `
  INSERT INTO settings (org_id, user_id, language) VALUES ($1, $2, $3)
  ON CONFLICT (org_id, user_id) WHERE user_id IS NOT NULL DO UPDATE SET language = excluded.language`;

const DELETE_SETTINGS = 'DELETE FROM settings WHERE org_id = $1 OR user_id = $2';
const DELETE_MEMBERS = 'DELETE FROM org_user WHERE org_id = $1 OR user_id = $2';
const DELETE_ORG = 'DELETE FROM org WHERE id = $1';
const DELETE_USER = 'DELETE FROM "user" WHERE id = $1';

/** Which of the old facts live on "user"; the version has another name; all others are columns of settings. */
const ON_USER = new Set(['keycloak_user_id', 'accepted_tos', 'enable_sound_notifications']);

function split(values: Values): { user: Values; settings: Values } {
  const user: Record<string, string | null> = {};
  const settings: Record<string, string | null> = {};
  for (const [column, value] of Object.entries(values)) {
    if (ON_USER.has(column)) user[column] = value;
    else settings[column === 'user_version' ? 'settings_version' : column] = value;
  }
  return { user, settings };
}

async function readUser(attempt: Attempt, id: number): Promise<{ org: string; settings: string }> {
  const found = await attempt.statement(READ_USER, [String(id)]);
  const [row] = found.rows;
  if (row === undefined) throw new NothingWritten('no such user');
  return { org: String(row['own_org_id']), settings: String(row['settings_id']) };
}

async function update(attempt: Attempt, id: number, values: Values): Promise<void> {
  const own = await readUser(attempt, id);
  const parts = split(values);
  const statements = [
    { id: own.settings, values: parts.settings, table: 'settings' },
    { id: String(id), values: parts.user, table: '"user"' },
  ].filter((s) => Object.keys(s.values).length > 0);
  const run = async (write: Attempt['statement']): Promise<void> => {
    for (const s of statements) {
      const { text, values: parameters } = updateById(s.table, s.values);
      const result = await write(text, [s.id, ...parameters]);
      if (result.rowCount === 0) throw new NothingWritten('no such row');
    }
  };
  if (statements.length === 1) await run((text, parameters) => attempt.autocommit(text, parameters));
  else await attempt.transaction(() => run((text, parameters) => attempt.statement(text, parameters)));
}

async function signUp(attempt: Attempt, values: Values): Promise<number> {
  const parts = split(values);
  return await attempt.transaction(async () => {
    const insertUser = insertReturningId('"user"', parts.user);
    const user = String((await attempt.statement(insertUser.text, insertUser.values)).rows[0]?.['id']);
    const org = String((await attempt.statement(INSERT_ORG, [`user_${user}_org`])).rows[0]?.['id']);
    await attempt.statement(INSERT_ADMIN, [org, user]);
    const insertSettings = insertReturningId('settings', { org_id: org, ...parts.settings } as Values);
    await attempt.statement(insertSettings.text, insertSettings.values);
    return Number(user);
  });
}

async function deleteUser(attempt: Attempt, id: number): Promise<void> {
  const own = await readUser(attempt, id);
  await attempt.transaction(async () => {
    await attempt.statement(DELETE_SETTINGS, [own.org, String(id)]);
    await attempt.statement(DELETE_MEMBERS, [own.org, String(id)]);
    await attempt.statement(DELETE_ORG, [own.org]);
    const gone = await attempt.statement(DELETE_USER, [String(id)]);
    if (gone.rowCount === 0) throw new NothingWritten('no such user');
  });
}

/** The new application's statements on role, org, user, org_user and settings. */
export const onNewSchema: Application = async (attempt, op) => {
  switch (op.kind) {
    case 'save':
    case 'version-upgrade':
    case 'terms':
    case 'mcp-config':
    case 'other':
      await update(attempt, op.person.id, op.values);
      return undefined;
    case 'key-change':
      if (!op.values.keycloak_user_id) throw new NothingWritten('a user of the new schema has a key');
      await update(attempt, op.person.id, op.values);
      return undefined;
    case 'sign-up':
      return await signUp(attempt, op.values);
    case 'everyone': {
      const written = await attempt.autocommit(UPDATE_EVERYONE, [op.values[EVERYONE_COLUMN] ?? null]);
      if (written.rowCount === 0) throw new NothingWritten('nobody is here');
      return undefined;
    }
    case 'delete':
      await deleteUser(attempt, op.person.id);
      return undefined;
    case 'rename-org': {
      const own = await readUser(attempt, op.person.id);
      await attempt.autocommit(RENAME_ORG, [own.org, op.name]);
      return undefined;
    }
    case 'second-member': {
      const own = await readUser(attempt, op.person.id);
      await attempt.autocommit(INSERT_MEMBER, [own.org, String(op.member)]);
      return undefined;
    }
    case 'own-settings': {
      const own = await readUser(attempt, op.person.id);
      await attempt.autocommit(INSERT_OWN_SETTINGS, [
        own.org,
        String(op.person.id),
        op.values.language ?? null,
      ]);
      return undefined;
    }
    default:
      throw new TypeError(`no operation is called ${String((op satisfies never as Operation).kind)}`);
  }
};

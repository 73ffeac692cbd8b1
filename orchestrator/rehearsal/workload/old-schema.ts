import { type Attempt, NothingWritten } from './attempt.ts';
import { EVERYONE_COLUMN, type Operation, type Values } from './operation.ts';

/** What the application knows to do on one schema. @returns the id of a user who signed up. */
export type Application = (attempt: Attempt, op: Operation) => Promise<number | undefined>;

const READ_BY_KEY = 'SELECT * FROM user_settings WHERE keycloak_user_id = $1 LIMIT 1';

const UPDATE_EVERYONE = `UPDATE user_settings SET ${EVERYONE_COLUMN} = $1`;

const DELETE = 'DELETE FROM user_settings WHERE id = $1';

/** `UPDATE … SET <changed columns> WHERE id = $1`, as an object-relational mapper writes it. */
export function updateById(table: string, values: Values): { text: string; values: (string | null)[] } {
  const set = Object.keys(values).map((column, n) => `"${column}" = $${n + 2}`);
  return { text: `UPDATE ${table} SET ${set.join(', ')} WHERE id = $1`, values: Object.values(values) };
}

export function insertReturningId(
  table: string,
  values: Values,
): { text: string; values: (string | null)[] } {
  const columns = Object.keys(values);
  return {
    text: `INSERT INTO ${table} (${columns.map((c) => `"${c}"`).join(', ')})
      VALUES (${columns.map((_, n) => `$${n + 1}`).join(', ')}) RETURNING id`,
    values: Object.values(values),
  };
}

function mustChange(result: { rowCount: number | null }): void {
  if (result.rowCount === 0) throw new NothingWritten('no such row');
}

/** The application's own statements on `user_settings`: it reads by key and writes by id, each its own transaction. */
export const onOldSchema: Application = async (attempt, op) => {
  switch (op.kind) {
    case 'save':
    case 'version-upgrade':
    case 'terms':
    case 'mcp-config':
    case 'other':
    case 'key-change': {
      if (op.person.key !== null) await attempt.statement(READ_BY_KEY, [op.person.key]);
      const update = updateById('user_settings', op.values);
      mustChange(await attempt.autocommit(update.text, [String(op.person.id), ...update.values]));
      return undefined;
    }
    case 'sign-up': {
      // Checked without a lock and then inserted: two sign-ups at once both find nobody.
      await attempt.statement(READ_BY_KEY, [op.values.keycloak_user_id]);
      const insert = insertReturningId('user_settings', op.values);
      const inserted = await attempt.autocommit(insert.text, insert.values);
      return Number(inserted.rows[0]?.['id']);
    }
    case 'everyone':
      mustChange(await attempt.autocommit(UPDATE_EVERYONE, [op.values[EVERYONE_COLUMN] ?? null]));
      return undefined;
    case 'delete':
      mustChange(await attempt.autocommit(DELETE, [String(op.person.id)]));
      return undefined;
    case 'rename-org':
    case 'second-member':
    case 'own-settings':
      throw new NothingWritten('the old schema has no organisations');
    default:
      throw new TypeError(`no operation is called ${String((op satisfies never as Operation).kind)}`);
  }
};

import type { ClientBase } from 'pg';
import type { Context } from '../state/context.ts';
import { type CopyFormat, declaredTypes } from './statements.ts';

const TYPES = `
  SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type
  FROM pg_attribute AS a
  WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped`;

/**
 * Binary COPY is a quarter faster than text (FIELD-NOTES, anchors), but it is the types' own wire format: it is used
 * only when every column on both sides has exactly the declared type. Otherwise text, which both sides can read.
 */
export async function agreedFormat(blue: ClientBase, green: ClientBase, ctx: Context): Promise<CopyFormat> {
  const { source, targets } = declaredTypes(ctx);
  const agree = async (client: ClientBase, relation: string, types: Readonly<Record<string, string>>) => {
    const { rows } = await client.query<{ name: string; type: string }>(TYPES, [relation]);
    const found = new Map(rows.map((r) => [r.name, r.type]));
    return Object.entries(types).every(([name, type]) => found.get(name) === type);
  };
  if (!(await agree(blue, ctx.relations.userSettings, source))) return 'text';
  for (const t of targets) if (!(await agree(green, t.relation, t.types))) return 'text';
  return 'binary';
}

/**
 * `SELECT id::text … ORDER BY id` sorts text: a bare name after ORDER BY is the column of the result before it is one of
 * the table. A statement that prints what it sorts by has to say whose column it means.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The statements of a source file that sort the text of a column; every literal is taken as one statement. */
function sortsText(source: string): string[] {
  const literals = source.match(/`[^`]*`|'[^'\n]*'/g) ?? [];
  return literals.filter((sql) =>
    [...sql.matchAll(/ORDER BY\s+"?(\w+)"?(?![\w.(])/g)].some(([, name = '']) =>
      new RegExp(
        `\\b${name}"?::text\\s*(,|\\s+FROM|\\s+AS\\s+"?${name}\\b)|::text\\s+AS\\s+"?${name}\\b`,
      ).test(sql),
    ),
  );
}

it('no statement sorts numbers by their text', () => {
  const found = ['src', 'orchestrator', 'migrations'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .flatMap((name) =>
        sortsText(readFileSync(join(root, folder, name), 'utf8')).map((sql) => `${folder}/${name}: ${sql}`),
      ),
  );
  expect(found).toEqual([]);
});

it.each([
  ['`SELECT id::text, at FROM t ORDER BY id LIMIT 5`', 1],
  ['`SELECT "id"::text AS id FROM t ORDER BY "id"`', 1],
  ['`SELECT max(x)::text AS n FROM t ORDER BY n`', 1],
  ['`SELECT t.id::text AS id FROM t ORDER BY t.id`', 0],
  ['`SELECT id FROM t ORDER BY id`', 0],
])('%s', (source, n) => {
  expect(sortsText(source)).toHaveLength(n);
});

import { ADMINISTRATOR } from '../../grants/platform.ts';
import type { GrantsDocument } from '../grants.ts';

/** The statements as scripts for psql, with who executes them, and where, as comments. */
export function renderGrants(d: GrantsDocument): string {
  const part = (title: string, statements: readonly string[]): string[] =>
    statements.length === 0 ? [] : ['', ...comment(title), ...statements.map((sql) => `${sql};`)];
  return [
    ...comment(`The rights of ${d.role} for orchestrate ${d.task}. Everything can be repeated.`),
    ...comment(`The login has no password yet: \\password in psql sets it without showing it.`),
    ...d.sides.flatMap((s) => [
      ...part(`${s.side}, in any database, as ${ADMINISTRATOR[d.platform]}:`, s.server),
      ...part(
        `${s.side}, in database ${s.database}, as its owner or ${ADMINISTRATOR[d.platform]}:`,
        s.in_database,
      ),
      ...part(
        `${s.side}, in database ${s.database}, as the login of orchestrate run, once that has begun:`,
        s.in_control_schema,
      ),
    ]),
  ].join('\n');
}

/** A name may hold a line break; what follows it has to stay a comment. */
function comment(text: string): string[] {
  return text.split(/\r\n|\r|\n/).map((line) => `-- ${line}`);
}

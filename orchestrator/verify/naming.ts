import { ident } from '../../src/mapping/identifier.ts';
import { type Relations, UNMAPPABLE } from '../../src/mapping/sql.ts';
import type { Comparison, Readers } from './comparison.ts';
import { ABSENT } from './green-own.ts';
import type { Part } from './image.ts';
import { inOrder, type Mismatch, type MismatchKind } from './mismatch.ts';
import { columnNames, type Difference, differingColumns } from './narrow.ts';

/** Rows whose columns are asked for in one statement. */
const BATCH = 500;

/**
 * Names differences as the operator reads them: by table, key and columns of the standby, never by values.
 * While blue serves these are green's tables; while green serves, rows of `user_settings`.
 */
export async function nameDifferences(
  c: Comparison,
  readers: Readers,
  differences: readonly Difference[],
): Promise<Mismatch[]> {
  const columns = await columnsOfAll(c, readers, differences);
  return c.serving === 'blue'
    ? inOrder(await onGreen(c, readers, differences, columns))
    : inOrder(onBlue(differences, columns));
}

interface Columns {
  readonly absent: boolean;
  readonly green: readonly string[];
  readonly source: readonly string[];
}
const NONE: Columns = { absent: false, green: [], source: [] };
const nameOf = (part: Part, key: number): string => `${part}:${key}`;

async function columnsOfAll(
  c: Comparison,
  readers: Readers,
  differences: readonly Difference[],
): Promise<Map<string, Columns>> {
  const found = new Map<string, Columns>();
  for (const part of new Set(differences.map((d) => d.part))) {
    const names = columnNames(c, part);
    const keys = differences.filter((d) => d.part === part && d.kind === 'different').map((d) => d.key);
    for (let at = 0; at < keys.length; at += BATCH) {
      const indexes = await differingColumns(c, readers, part, keys.slice(at, at + BATCH));
      for (const [key, list] of indexes) {
        const here = list === ABSENT ? [] : list.flatMap((i) => names[i] ?? []);
        found.set(nameOf(part, key), {
          absent: list === ABSENT,
          green: here.map((n) => n.green),
          source: here.flatMap((n) => n.source ?? []),
        });
      }
    }
  }
  return found;
}

async function onGreen(
  c: Comparison,
  readers: Readers,
  differences: readonly Difference[],
  columns: ReadonlyMap<string, Columns>,
): Promise<Mismatch[]> {
  const lost = differences.filter((d) => d.part === 'user' && d.kind === 'missing').map((d) => d.key);
  const parkable = await parkableOf(c.relations, readers, lost);
  const named: Mismatch[] = [...parkable].map((key) => ({
    table: 'parked',
    key,
    kind: 'missing',
    columns: [],
  }));
  for (const d of differences) {
    // A row that cannot be mapped lacks one parked row, not four mapped ones.
    if (d.kind === 'missing' && d.part !== 'parked' && parkable.has(d.key)) continue;
    const known = d.kind === 'different' ? (columns.get(nameOf(d.part, d.key)) ?? NONE) : NONE;
    named.push({
      table: d.part,
      key: d.key,
      kind: known.absent ? 'missing' : d.kind,
      columns: known.green,
    });
  }
  return named;
}

const unmappableSql = (r: Relations) => `
  SELECT us."id" AS id, us."keycloak_user_id" AS k, ${UNMAPPABLE} AS unmappable
  FROM ${r.userSettings} AS us
  WHERE us."id" = ANY ($1::integer[])`;

const holderSql = (r: Relations) => `
  SELECT w.id
  FROM unnest($1::integer[], $2::text[]) AS w(id, k)
  WHERE EXISTS (SELECT FROM ${r.user} AS u WHERE u.${ident('keycloak_user_id')} = w.k AND u."id" <> w.id)`;

/** Of source rows that green has neither mapped nor parked: those that belong among the parked. */
async function parkableOf(r: Relations, readers: Readers, keys: readonly number[]): Promise<Set<number>> {
  const found = new Set<number>();
  for (let at = 0; at < keys.length; at += BATCH) {
    type Row = { id: number; k: string; unmappable: boolean };
    const { rows } = await readers.blue.query<Row>(unmappableSql(r), [keys.slice(at, at + BATCH)]);
    for (const row of rows) if (row.unmappable) found.add(row.id);
    const keyed = rows.filter((row) => !row.unmappable);
    const held = await readers.green.query<{ id: number }>(holderSql(r), [
      keyed.map((row) => row.id),
      keyed.map((row) => row.k),
    ]);
    for (const row of held.rows) found.add(row.id);
  }
  return found;
}

const TURNED: Readonly<Record<MismatchKind, MismatchKind>> = {
  missing: 'extra',
  extra: 'missing',
  different: 'different',
};

/** While green serves the standby has one table: what differs in several parts of a user is one row of it. */
function onBlue(differences: readonly Difference[], columns: ReadonlyMap<string, Columns>): Mismatch[] {
  const rows = new Map<number, Mismatch>();
  for (const d of differences) {
    const kind = TURNED[d.kind];
    const known = d.kind === 'different' ? (columns.get(nameOf(d.part, d.key)) ?? NONE).source : [];
    const before = rows.get(d.key);
    rows.set(d.key, {
      table: 'user_settings',
      key: d.key,
      kind: before === undefined || before.kind === kind ? kind : 'different',
      columns: [...new Set([...(before?.columns ?? []), ...known])],
    });
  }
  return [...rows.values()];
}

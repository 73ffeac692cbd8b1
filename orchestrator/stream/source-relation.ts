import { SOURCE_COLUMNS, SOURCE_TABLE } from '../../src/mapping/columns.ts';
import { failure } from '../errors/failure.ts';
import type { Relation, Tuple, Value } from './change.ts';

/** Object ids of built-in types; they are the same on every server and version. */
const TYPE_OIDS: Readonly<Record<string, number>> = {
  boolean: 16,
  bytea: 17,
  bigint: 20,
  smallint: 21,
  integer: 23,
  text: 25,
  json: 114,
  real: 700,
  'double precision': 701,
  'character varying': 1043,
  date: 1082,
  'timestamp without time zone': 1114,
  'timestamp with time zone': 1184,
  numeric: 1700,
  uuid: 2950,
  jsonb: 3802,
};

const typeName = (oid: number): string =>
  Object.entries(TYPE_OIDS).find(([, known]) => known === oid)?.[0] ?? `type ${oid}`;

/** How the columns of a relation that is not in declared order lie. */
interface Order {
  /** Position of each declared column in the relation. */
  readonly inRelation: readonly number[];
  /** Position of each of the relation's columns among the declared ones. */
  readonly declared: readonly number[];
}

const orders = new WeakMap<Relation, Order | undefined>();

/**
 * Checks how the stream describes `user_settings` against the declaration. The order of columns is free; anything else
 * that differs stops the sync (DESIGN 5.4): a column in doubt is never dropped or guessed.
 * @throws OrchestrateError SCHEMA_CHANGED.
 */
export function checkSourceRelation(relation: Relation, schema: string): void {
  if (relation.name !== SOURCE_TABLE || relation.schema !== schema)
    throw changed(`${schema}.${SOURCE_TABLE}`, `table ${relation.schema}.${relation.name}`);
  const found = new Map(relation.columns.map((c, i) => [c.name, { ...c, i }]));
  const missing: string[] = [];
  const different: string[] = [];
  for (const column of SOURCE_COLUMNS) {
    const there = found.get(column.name);
    const oid = TYPE_OIDS[column.type];
    if (there === undefined) missing.push(column.name);
    else if (oid !== undefined && (there.typeOid !== oid || there.typeModifier !== -1))
      different.push(
        `${column.name} as ${typeName(there.typeOid)}${there.typeModifier === -1 ? '' : ' with a length'}`,
      );
  }
  const declared = new Set(SOURCE_COLUMNS.map((c) => c.name));
  const unknown = relation.columns.filter((c) => !declared.has(c.name)).map((c) => c.name);
  if (missing.length + different.length + unknown.length > 0)
    throw changed(
      'the columns of the mapping',
      [
        ...(unknown.length > 0 ? [`columns the mapping does not know: ${unknown.join(', ')}`] : []),
        ...(missing.length > 0 ? [`columns that are gone: ${missing.join(', ')}`] : []),
        ...(different.length > 0 ? [`columns of another type: ${different.join(', ')}`] : []),
      ].join('; '),
    );
  const key = relation.columns.filter((c) => c.key).map((c) => c.name);
  if (relation.identity === 'n' || (relation.identity !== 'f' && key.join() !== 'id'))
    throw changed('a replica identity that holds the id', key.length === 0 ? 'none' : key.join(', '));
  const inRelation = SOURCE_COLUMNS.map((c) => found.get(c.name)?.i ?? -1);
  const order = { inRelation, declared: relation.columns.map((_, i) => inRelation.indexOf(i)) };
  orders.set(relation, inRelation.every((at, i) => at === i) ? undefined : order);
}

function changed(expected: string, found: string): Error {
  return failure('SCHEMA_CHANGED', {
    message: `${SOURCE_TABLE} on blue is not the table the mapping was made for`,
    expected,
    found,
  });
}

/** @returns the values of a row of `user_settings` in declared order; the very same array where that is its order. */
export function inDeclaredOrder(relation: Relation, row: Tuple): Value[] {
  const order = orders.get(relation);
  return order === undefined ? (row as Value[]) : order.inRelation.map((at) => row[at]);
}

/** @returns where a checked relation's columns stand among the declared ones; undefined when in the same places. */
export function declaredPositions(relation: Relation): readonly number[] | undefined {
  return orders.get(relation)?.declared;
}

/** @returns where a declared column stands in a checked relation. */
export function positionIn(relation: Relation, declared: number): number {
  return orders.get(relation)?.inRelation[declared] ?? declared;
}

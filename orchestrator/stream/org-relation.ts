import { columnsOf, type SourceColumn } from '../../src/mapping/columns.ts';
import { failure } from '../errors/failure.ts';
import type { Relation } from './change.ts';

/** Object ids of the built-in types the mapping uses; they are the same on every server. */
const TYPE_OIDS: Readonly<Record<string, number>> = {
  boolean: 16,
  integer: 23,
  json: 114,
  'double precision': 701,
  'character varying': 1043,
  'timestamp without time zone': 1114,
};

const integer = (...names: string[]): [string, string][] => names.map((name) => [name, 'integer']);
const text = (...names: string[]): [string, string][] => names.map((name) => [name, 'character varying']);
const facts = (home: SourceColumn['home']): [string, string][] => columnsOf(home).map((c) => [c.as, c.type]);

/** Every table of the org model with its columns, as MAPPING lists them; order does not matter. */
const TABLES: Readonly<Record<string, ReadonlyMap<string, string>>> = {
  role: new Map([...integer('id', 'rank'), ...text('name')]),
  org: new Map([
    ...integer('id', 'conversation_expiration'),
    ...text('name', 'contact_name', 'contact_email'),
  ]),
  user: new Map([...integer('id', 'role_id'), ...facts('user')]),
  org_user: new Map([...integer('org_id', 'user_id', 'role_id'), ...text('status')]),
  settings: new Map([...integer('id', 'org_id', 'user_id'), ...facts('settings')]),
};

/**
 * Checks how the stream describes a table of green against the plan.
 * @throws OrchestrateError SCHEMA_CHANGED with what was expected and found; never guesses.
 */
export function checkOrgRelation(relation: Relation, schema: string): void {
  const changed = (expected: string, found: string) =>
    failure('SCHEMA_CHANGED', {
      message: `${relation.schema}.${relation.name} on green no longer is what the mapping describes`,
      expected,
      found,
      fix: 'undo the change on green, or add the column to the mapping; then orchestrate run',
    });
  const planned = TABLES[relation.name];
  if (planned === undefined || relation.schema !== schema)
    throw changed(
      `a table of ${schema}: ${Object.keys(TABLES).join(', ')}`,
      `${relation.schema}.${relation.name}`,
    );
  const found = new Map(relation.columns.map((c) => [c.name, c.typeOid]));
  for (const [name, type] of planned) {
    if (!found.has(name)) throw changed(`column ${name}`, 'none of that name');
    if (found.get(name) !== TYPE_OIDS[type]) throw changed(`column ${name} of type ${type}`, 'another type');
  }
  for (const name of found.keys())
    if (!planned.has(name))
      throw changed(`the columns ${[...planned.keys()].join(', ')}`, `one more: ${name}`);
  // Without it a deleted settings row says only its id, and nobody knows whose it was (HISTORIES 27).
  if (relation.identity !== 'f' && relation.name !== 'role')
    throw changed('REPLICA IDENTITY FULL', `replica identity ${relation.identity}`);
}

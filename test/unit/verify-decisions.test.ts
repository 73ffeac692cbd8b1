import { describe, expect, it } from 'vitest';
import { type CatalogDigest, compareCatalog, describeChanges } from '../../orchestrator/verify/catalog.ts';
import { inOrder } from '../../orchestrator/verify/mismatch.ts';
import { differences } from '../../orchestrator/verify/narrow.ts';
import { ceilingOf, commonFloor, RESERVED_AT_TOP } from '../../orchestrator/verify/sequences.ts';

describe('differences of one part', () => {
  const map = (entries: Record<number, string[]>) =>
    new Map(Object.entries(entries).map(([key, hashes]) => [Number(key), hashes]));
  const kinds = (blue: Record<number, string[]>, green: Record<number, string[]>) =>
    differences('org_user', map(blue), map(green)).map((d) => `${d.key} ${d.kind}`);

  it('are none where both say the same', () => {
    expect(kinds({ 1: ['a'], 2: ['b'] }, { 2: ['b'], 1: ['a'] })).toEqual([]);
  });
  it('are missing, extra and different', () => {
    expect(kinds({ 1: ['a'], 2: ['b'] }, { 2: ['c'], 3: ['d'] })).toEqual([
      '1 missing',
      '2 different',
      '3 extra',
    ]);
  });
  it('name a second row of a key beside the right one as extra only', () => {
    expect(kinds({ 1: ['a'] }, { 1: ['b', 'a'] })).toEqual(['1 extra']);
  });
  it('name two wrong rows of a key as different and extra', () => {
    expect(kinds({ 1: ['a'] }, { 1: ['b', 'c'] })).toEqual(['1 different', '1 extra']);
  });
  it('carry evidence that does not depend on the order of rows', () => {
    const evidence = (hashes: string[]) =>
      differences('org_user', map({ 1: ['a'] }), map({ 1: hashes }))[0]?.evidence;
    expect(evidence(['c', 'b'])).toBe(evidence(['b', 'c']));
    expect(evidence(['c', 'b'])).not.toBe(evidence(['b', 'd']));
  });
});

it('mismatches are sorted by key, then table', () => {
  const m = (table: 'org' | 'user', key: number) => ({ table, key, kind: 'missing' as const, columns: [] });
  expect(inOrder([m('user', 10), m('user', 9), m('org', 10)]).map((x) => `${x.key}${x.table}`)).toEqual([
    '9user',
    '10org',
    '10user',
  ]);
});

describe('where sequences must stand', () => {
  it('is the highest of all ids and last values', () => {
    expect(commonFloor([5n, 100n], [7n, 0n])).toBe(100n);
    expect(commonFloor([5n], [700n])).toBe(700n);
  });
  it('is not below zero for negative ids', () => {
    expect(commonFloor([-5n], [])).toBe(0n);
  });
  it('leaves room at the top of the narrowest sequence', () => {
    expect(ceilingOf([2n ** 31n - 1n, 2n ** 63n - 1n])).toBe(2n ** 31n - 1n - RESERVED_AT_TOP);
    expect(ceilingOf([100n])).toBe(100n);
  });
});

describe('changes of definitions', () => {
  const table = {
    table: 'user_settings',
    oid: '1',
    filenode: '10',
    columns: ['1 id integer not null', '2 email character varying null'],
    triggers: [],
    replicaIdentity: 'd',
  };
  const changes = (after: CatalogDigest) => describeChanges('blue', compareCatalog([table], after));

  it('are none for the same digest', () => {
    expect(changes([{ ...table }])).toEqual([]);
  });
  it('name a rewrite, a column, a trigger and an identity', () => {
    expect(changes([{ ...table, filenode: '11' }])).toEqual([
      'blue user_settings rewritten: its rows lie in another file',
    ]);
    expect(changes([{ ...table, columns: table.columns.slice(0, 1) }])).toEqual([
      'blue user_settings columns: − 2 email character varying null',
    ]);
    expect(changes([{ ...table, triggers: ['O CREATE TRIGGER x'] }])[0]).toContain('triggers: + O CREATE');
    expect(changes([{ ...table, replicaIdentity: 'n' }])[0]).toContain('d became n');
  });
  it('do not count the replica identity we set ourselves', () => {
    expect(changes([{ ...table, replicaIdentity: 'f' }])).toEqual([]);
  });
  it('name a table that is gone, new or another one', () => {
    expect(changes([])[0]).toContain('dropped');
    expect(changes([table, { ...table, table: 'other' }])[0]).toContain('blue other created');
    expect(changes([{ ...table, oid: '2', filenode: '20' }])).toEqual([
      'blue user_settings recreated: another table of the same name',
    ]);
  });
});

import { describe, expect, test } from 'vitest';
import type { Change, Relation } from '../../orchestrator/stream/change.ts';
import { Nets } from '../../orchestrator/stream/nets.ts';
import { PgoutputDecoder } from '../../orchestrator/stream/protocol.ts';
import { checkSourceRelation } from '../../orchestrator/stream/source-relation.ts';
import { SOURCE_COLUMNS } from '../../src/mapping/columns.ts';

/** Writes messages by hand, from the manual's chapter on the protocol's formats. */
const u8 = (n: number) => Buffer.from([n]);
const u16 = (n: number) => Buffer.from([n >> 8, n & 255]);
const u32 = (n: number) => {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(n >>> 0);
  return b;
};
const u64 = (n: bigint) => {
  const b = Buffer.alloc(8);
  b.writeBigInt64BE(n);
  return b;
};
const z = (s: string) => Buffer.from(`${s}\0`);
const c = (s: string) => Buffer.from(s, 'latin1');
const text = (s: string) => Buffer.concat([c('t'), u32(Buffer.byteLength(s)), Buffer.from(s)]);
const tuple = (...values: (string | null | undefined)[]) =>
  Buffer.concat([
    u16(values.length),
    ...values.map((v) => (v === null ? c('n') : v === undefined ? c('u') : text(v))),
  ]);
const relation = (identity = 'd') =>
  Buffer.concat([
    c('R'),
    u32(77),
    z('public'),
    z('t'),
    c(identity),
    u16(2),
    u8(1),
    z('id'),
    u32(23),
    u32(0xffffffff),
    u8(0),
    z('v'),
    u32(1043),
    u32(0xffffffff),
  ]);

describe('pgoutput', () => {
  test('begin, commit and logical messages', () => {
    const d = new PgoutputDecoder();
    expect(d.decode(Buffer.concat([c('B'), u64(0x1_00000010n), u64(5_000_000n), u32(0xfffffff0)]))).toEqual({
      kind: 'begin',
      finalLsn: 0x1_00000010n,
      commitMicros: 946_684_805_000_000n,
      xid: 0xfffffff0,
    });
    expect(d.decode(Buffer.concat([c('C'), u8(0), u64(16n), u64(48n), u64(0n)]))).toEqual({
      kind: 'commit',
      finalLsn: 16n,
      endLsn: 48n,
      commitMicros: 946_684_800_000_000n,
    });
    expect(d.decode(Buffer.concat([c('M'), u8(1), u64(9n), z('pre'), u32(3), Buffer.from('abc')]))).toEqual({
      kind: 'message',
      transactional: true,
      lsn: 9n,
      prefix: 'pre',
      content: 'abc',
    });
    expect(d.decode(Buffer.concat([c('O'), u64(1n), z('o')]))).toBeUndefined();
    expect(d.decode(Buffer.concat([c('Y'), u32(1), z(''), z('y')]))).toBeUndefined();
  });

  test('rows as text, from any place of a buffer: NULL, empty, unchanged and more than one byte a character', () => {
    const d = new PgoutputDecoder();
    d.decode(relation());
    const insert = Buffer.concat([Buffer.from('header'), c('I'), u32(77), c('N'), tuple('1', '')]);
    expect(d.decode(insert, 6)).toMatchObject({ kind: 'insert', row: ['1', ''] });
    expect(d.decode(Buffer.concat([c('U'), u32(77), c('N'), tuple('1', undefined)]))).toMatchObject({
      kind: 'update',
      row: ['1', undefined],
      old: undefined,
    });
    expect(
      d.decode(Buffer.concat([c('U'), u32(77), c('K'), tuple('1', null), c('N'), tuple('2', '日本 é')])),
    ).toMatchObject({
      old: ['1', null],
      row: ['2', '日本 é'],
    });
    expect(d.decode(Buffer.concat([c('D'), u32(77), c('K'), tuple('é', null)]))).toMatchObject({
      kind: 'delete',
      old: ['é', null],
    });
    expect(d.decode(Buffer.concat([c('T'), u32(1), u8(0), u32(77)]))).toMatchObject({
      kind: 'truncate',
      relations: [{ name: 't' }],
    });
  });

  test('under REPLICA IDENTITY FULL an unchanged value is in the old row', () => {
    const d = new PgoutputDecoder();
    d.decode(relation('f'));
    expect(
      d.decode(Buffer.concat([c('U'), u32(77), c('O'), tuple('1', 'big'), c('N'), tuple('1', undefined)])),
    ).toMatchObject({
      row: ['1', 'big'],
      old: ['1', 'big'],
    });
  });

  test.each([
    ['an unknown kind', c('Q')],
    ['a change before its table', Buffer.concat([c('I'), u32(5), c('N'), tuple('1')])],
    ['a message that is cut off', Buffer.concat([c('B'), u32(1)])],
    ['a value that is cut off', Buffer.concat([c('I'), u32(77), c('N'), u16(1), c('t'), u32(99), c('x')])],
    ['a binary value', Buffer.concat([c('I'), u32(77), c('N'), u16(1), c('b'), u32(1), c('x')])],
  ])('%s is an error', (_, message) => {
    const d = new PgoutputDecoder();
    d.decode(relation());
    expect(() => d.decode(message)).toThrow();
  });
});

const OIDS: Record<string, number> = {
  integer: 23,
  'character varying': 1043,
  boolean: 16,
  'double precision': 701,
  'timestamp without time zone': 1114,
  json: 114,
};
const described = (
  change: (
    columns: { name: string; typeOid: number; typeModifier: number; key: boolean }[],
  ) => void = () => {},
): Relation => {
  const columns = SOURCE_COLUMNS.map((col) => ({
    name: col.name,
    typeOid: OIDS[col.type] ?? 0,
    typeModifier: -1,
    key: col.name === 'id',
  }));
  change(columns);
  return { oid: 1, schema: 'public', name: 'user_settings', identity: 'd', columns };
};

describe('the source table as the stream describes it', () => {
  test('columns in any order', () => {
    expect(() =>
      checkSourceRelation(
        described((cs) => cs.reverse()),
        'public',
      ),
    ).not.toThrow();
  });

  test.each([
    [
      'a new column',
      (cs) => cs.push({ name: 'new', typeOid: 25, typeModifier: -1, key: false }),
      /does not know: new/,
    ],
    ['a column that is gone', (cs) => cs.splice(3, 1), /gone: agent/],
    ['another type', (cs) => Object.assign(cs[4] ?? {}, { typeOid: 20 }), /max_iterations as bigint/],
    [
      'a length',
      (cs) => Object.assign(cs[2] ?? {}, { typeModifier: 14 }),
      /language as character varying with a length/,
    ],
    ['another key', (cs) => Object.assign(cs[0] ?? {}, { key: false }), /none/],
  ] as [string, Parameters<typeof described>[0], RegExp][])('%s stops', (_, change, found) => {
    let error: { code?: string; detail?: { found?: string } } = {};
    try {
      checkSourceRelation(described(change), 'public');
    } catch (e) {
      error = e as typeof error;
    }
    expect(error.code).toBe('SCHEMA_CHANGED');
    expect(error.detail?.found).toMatch(found);
  });
});

describe('net effect of a batch', () => {
  const of = described();
  checkSourceRelation(of, 'public');
  const row = (id: number, language: string | null | undefined) =>
    SOURCE_COLUMNS.map((col) => (col.name === 'id' ? String(id) : col.name === 'language' ? language : null));
  const update = (
    id: number,
    language: string | undefined,
    from?: number,
  ): Exclude<Change, { kind: 'truncate' }> => ({
    kind: 'update',
    relation: of,
    row: row(id, language),
    old: from === undefined ? undefined : row(from, null),
  });

  test('the last change wins, and what it did not send stays', () => {
    const nets = new Nets();
    nets.add({ kind: 'insert', relation: of, row: row(1, 'en') });
    nets.add(update(1, undefined));
    nets.add(update(2, 'fr'));
    nets.add({ kind: 'delete', relation: of, old: row(2, null) });
    expect([...nets.rows]).toEqual([
      [1, row(1, 'en')],
      [2, null],
    ]);
  });

  test('another id takes the row along; without it in the batch the old row is asked for', () => {
    const nets = new Nets();
    nets.add(update(1, 'en'));
    expect(nets.add(update(5, undefined, 1))).toBeUndefined();
    expect([...nets.rows]).toEqual([
      [1, null],
      [5, row(5, 'en')],
    ]);
    const moved = nets.add(update(9, undefined, 8));
    expect(moved).toEqual({ from: 8, to: 9, row: row(9, undefined) });
    expect(nets.rows.has(9)).toBe(false);
  });
});

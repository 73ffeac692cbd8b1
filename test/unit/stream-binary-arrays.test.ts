import { expect, test } from 'vitest';
import { BinaryArrays } from '../../orchestrator/stream/binary-arrays.ts';
import type { Relation, Value } from '../../orchestrator/stream/change.ts';
import { WireRow } from '../../orchestrator/stream/wire-row.ts';

/** Reads an array parameter as `array_recv` does. */
function read(array: Buffer): (string | null)[] {
  const dimensions = array.readInt32BE(0);
  expect([dimensions, array.readInt32BE(8)]).toEqual([array.length === 12 ? 0 : 1, 25]);
  if (dimensions === 0) return [];
  const elements: (string | null)[] = [];
  let at = 20;
  for (let n = array.readInt32BE(12); n > 0; n--) {
    const length = array.readInt32BE(at);
    at += 4;
    elements.push(length === -1 ? null : array.toString('utf8', at, at + length));
    at += Math.max(length, 0);
  }
  expect(at).toBe(array.length);
  return elements;
}

const relation: Relation = { oid: 1, schema: 'public', name: 't', identity: 'd', columns: [] };

const wire = (...values: (string | null)[]): WireRow => {
  const parts = [Buffer.from([0, values.length])];
  for (const value of values) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(Buffer.byteLength(value ?? ''));
    parts.push(
      value === null ? Buffer.from('n') : Buffer.concat([Buffer.from('t'), length, Buffer.from(value)]),
    );
  }
  const bytes = Buffer.concat([Buffer.from('before'), ...parts, Buffer.from('behind')]);
  return new WireRow(relation, bytes, 6, bytes.length - 6);
};

test('rows as they came and rows of text become the same arrays; NULLs at the end are left out', () => {
  const long = 'é日本 "\\{},'.repeat(1_000);
  const rows: (string | null)[][] = [
    [null, 'a', null, ''],
    ['1', null, null, long],
    ['2', 'x'.repeat(47), null, 'NULL'],
    ['3', 'y'.repeat(49), null, null],
    [null, null, null, null],
  ];
  const arrays = new BinaryArrays(4);
  // Twice: what is left of the first time does no harm.
  for (let n = 0; n < 2; n++) {
    for (const [i, row] of rows.entries()) arrays.add(i % 2 === n ? wire(...row) : row);
    expect(arrays.rows).toBe(5);
    expect(arrays.take().map(read)).toEqual([
      [null, '1', '2', '3'],
      ['a', null, 'x'.repeat(47), 'y'.repeat(49)],
      [],
      ['', long, 'NULL'],
    ]);
  }
  expect(arrays.take().map(read)).toEqual([[], [], [], []]);
});

test('an absent value is NULL, and one large value leaves no room behind', () => {
  const arrays = new BinaryArrays(1);
  const large = 'z'.repeat(3_000_000);
  const rows: Value[][] = [[undefined], [large], [undefined]];
  for (const row of rows) arrays.add(row);
  expect(arrays.take().map(read)).toEqual([[null, large]]);
  arrays.add(['after']);
  expect(arrays.take().map(read)).toEqual([['after']]);
});

test('a row tells its id and its values without the rows around it', () => {
  const row = wire('42', null, 'x', 'é');
  expect([row.numberOf(0), row.numberOf(1), row.complete]).toEqual([42, Number.NaN, true]);
  expect(row.values).toEqual(['42', null, 'x', 'é']);
  expect(row.values).toBe(row.values);
});

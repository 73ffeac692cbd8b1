import type { Value } from './change.ts';
import { declaredPositions } from './source-relation.ts';
import { WireRow } from './wire-row.ts';

/** Object id of `text`: every element is text, whatever the column's type; the statement casts it. */
const TEXT = 25;
/** One dimension, NULLs possible, the element's type, the number of elements, the first index. */
const HEADER_BYTES = 20;
const EMPTY = arrayHeader(Buffer.alloc(HEADER_BYTES - 8), 0);
const FIRST_BYTES = 4_096;
/** Room for one column that is kept for the next rows. */
const KEPT_BYTES = 1024 * 1024;
/** Up to here byte by byte is faster than a call. */
const SHORT_BYTES = 48;

/** One column's array as it grows. */
interface Column {
  bytes: Buffer;
  at: number;
  /** Elements so far, and how far they reach without the NULLs at the end. */
  elements: number;
  lastElement: number;
  lastAt: number;
}

/**
 * Rows as one array of text a column, in the binary format of array parameters (src/backend/utils/adt/arrayfuncs.c,
 * `array_recv`): what pgoutput printed is copied byte for byte. `unnest` pads shorter arrays with NULL, so NULLs at
 * the end of a column (for many columns: all of it) are left out.
 */
export class BinaryArrays {
  readonly #columns: Column[];
  #rows = 0;

  constructor(columns: number) {
    this.#columns = Array.from({ length: columns }, () => ({
      bytes: Buffer.allocUnsafe(FIRST_BYTES),
      at: HEADER_BYTES,
      elements: 0,
      lastElement: 0,
      lastAt: HEADER_BYTES,
    }));
  }

  get rows(): number {
    return this.#rows;
  }

  /** Adds a row in declared order, or as it came. An absent value becomes NULL. */
  add(row: readonly Value[] | WireRow): void {
    if (row instanceof WireRow) this.#wire(row);
    else
      for (const [i, value] of row.entries()) {
        if (value === null || value === undefined) continue;
        const column = this.#columns[i] as Column;
        // Three bytes at most for each unit of UTF-16.
        this.#reserve(column, value.length < FIRST_BYTES ? value.length * 3 : Buffer.byteLength(value));
        const length = column.bytes.write(value, column.at + 4, 'utf8');
        put(column.bytes, column.at, length);
        this.#took(column, length);
      }
    this.#rows += 1;
  }

  /** @returns one parameter a column; they share nothing with this object, which is empty again. */
  take(): Buffer[] {
    this.#rows = 0;
    return this.#columns.map((column) => {
      const { lastElement, lastAt } = column;
      column.at = HEADER_BYTES;
      column.elements = 0;
      column.lastElement = 0;
      column.lastAt = HEADER_BYTES;
      if (lastElement === 0) return EMPTY;
      const array = column.bytes.subarray(0, lastAt);
      if (column.bytes.length <= KEPT_BYTES) return arrayHeader(Buffer.from(array), lastElement);
      // What one large value needed is given away.
      column.bytes = Buffer.allocUnsafe(FIRST_BYTES);
      return arrayHeader(array, lastElement);
    });
  }

  #wire(row: WireRow): void {
    const { bytes } = row;
    const positions = declaredPositions(row.relation);
    row.forEach((i, from, to) => {
      const column = this.#columns[positions === undefined ? i : (positions[i] as number)] as Column;
      const length = to - from;
      this.#reserve(column, length);
      const target = column.bytes;
      let at = column.at;
      put(target, at, length);
      at += 4;
      if (length <= SHORT_BYTES) for (let k = from; k < to; k++) target[at++] = bytes[k] as number;
      else bytes.copy(target, at, from, to);
      this.#took(column, length);
    });
  }

  /** Makes room for one element, and writes the NULLs of the rows before it. */
  #reserve(column: Column, length: number): void {
    const nulls = this.#rows - column.elements;
    const needed = column.at + 4 * nulls + 4 + length;
    if (needed > column.bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * column.bytes.length));
      column.bytes.copy(grown, 0, 0, column.at);
      column.bytes = grown;
    }
    if (nulls > 0) {
      column.bytes.fill(0xff, column.at, column.at + 4 * nulls);
      column.at += 4 * nulls;
      column.elements += nulls;
    }
  }

  #took(column: Column, length: number): void {
    column.at += 4 + length;
    column.elements += 1;
    column.lastElement = column.elements;
    column.lastAt = column.at;
  }
}

function put(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function arrayHeader(array: Buffer, elements: number): Buffer {
  put(array, 0, elements === 0 ? 0 : 1);
  put(array, 4, elements === 0 ? 0 : 1);
  put(array, 8, TEXT);
  if (elements > 0) {
    put(array, 12, elements);
    put(array, 16, 1);
  }
  return array;
}

import type { Relation, Value } from './change.ts';

/** Most values of this table are one character long: `t`, `f`, a digit. */
const SINGLE = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code));

const NULL_VALUE = 0x6e;
const TEXT_VALUE = 0x74;
const UNCHANGED_VALUE = 0x75;

/**
 * A row as pgoutput sent it (PostgreSQL manual, 53.9, TupleData). Text is made of it only where somebody asks: most
 * rows are copied from the socket's bytes into a statement's without ever becoming JavaScript strings.
 */
export class WireRow {
  readonly relation: Relation;
  readonly bytes: Buffer;
  /** Where the first value's kind stands in `bytes`. */
  readonly at: number;
  readonly end: number;
  readonly count: number;
  /** No value was left out as unchanged. */
  readonly complete: boolean;
  #values: Value[] | undefined;

  /**
   * @param at where the tuple begins, at the number of its values.
   * @param limit where the message ends.
   * @throws Error when it is not what the text format knows.
   */
  constructor(relation: Relation, bytes: Buffer, at: number, limit: number) {
    this.relation = relation;
    this.bytes = bytes;
    this.count = bytes.readUInt16BE(at);
    this.at = at + 2;
    let next = this.at;
    let complete = true;
    for (let i = 0; i < this.count; i++) {
      const kind = bytes[next++];
      if (kind === TEXT_VALUE) next += 4 + lengthAt(bytes, next);
      else if (kind === UNCHANGED_VALUE) complete = false;
      else if (kind !== NULL_VALUE)
        throw new Error(`pgoutput sent a value of kind ${kind}, which the text format does not have`);
    }
    if (next > limit) throw new Error('pgoutput sent a value that ends beyond its message');
    this.end = next;
    this.complete = complete;
  }

  /** The values in the order of the relation's columns, as text; the same array every time. */
  get values(): Value[] {
    this.#values ??= this.#decode();
    return this.#values;
  }

  #decode(): Value[] {
    const { bytes, count } = this;
    // oxlint-disable-next-line unicorn/no-new-array -- its length is known, and it is a hot line
    const values = new Array<Value>(count);
    let at = this.at;
    for (let i = 0; i < count; i++) {
      const kind = bytes[at++];
      if (kind === NULL_VALUE) values[i] = null;
      else if (kind === UNCHANGED_VALUE) values[i] = undefined;
      else {
        const length = lengthAt(bytes, at);
        at += 4;
        const only = length === 1 ? SINGLE[bytes[at] as number] : undefined;
        values[i] = only ?? bytes.toString('utf8', at, at + length);
        at += length;
      }
    }
    return values;
  }

  /** The number in that column; for the id, which a row cannot be without. */
  numberOf(column: number): number {
    const { bytes } = this;
    let at = this.at;
    for (let i = 0; i < column; i++) at += bytes[at] === TEXT_VALUE ? 5 + lengthAt(bytes, at + 1) : 1;
    if (bytes[at] !== TEXT_VALUE) return Number.NaN;
    const length = lengthAt(bytes, at + 1);
    return Number(bytes.toString('latin1', at + 5, at + 5 + length));
  }

  /**
   * Calls `each` for every value that is not NULL, with its column and where its bytes stand; only for complete rows.
   */
  forEach(each: (column: number, from: number, to: number) => void): void {
    const { bytes, count } = this;
    let at = this.at;
    for (let i = 0; i < count; i++) {
      if (bytes[at++] !== TEXT_VALUE) continue;
      const from = at + 4;
      at = from + lengthAt(bytes, at);
      each(i, from, at);
    }
  }
}

/** A length of four bytes, most significant first. */
function lengthAt(bytes: Buffer, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

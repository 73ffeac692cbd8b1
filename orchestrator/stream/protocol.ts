import type { Lsn } from '../pg/lsn.ts';
import type { Change, Relation, RelationColumn, Tuple } from './change.ts';
import { WireRow } from './wire-row.ts';

/** A transaction begins: it is committed already, and `finalLsn` is where its commit record starts. */
export interface Begin {
  readonly kind: 'begin';
  readonly finalLsn: Lsn;
  readonly commitMicros: bigint;
  readonly xid: number;
}

/** The end of a transaction; `endLsn` is what is stored and acknowledged. */
export interface Commit {
  readonly kind: 'commit';
  readonly finalLsn: Lsn;
  readonly endLsn: Lsn;
  readonly commitMicros: bigint;
}

/** A table's description; it comes before the table's first change and again after DDL. */
export interface RelationMessage {
  readonly kind: 'relation';
  readonly relation: Relation;
}

/** A message of `pg_logical_emit_message`. */
export interface LogicalMessage {
  readonly kind: 'message';
  readonly transactional: boolean;
  readonly lsn: Lsn;
  readonly prefix: string;
  readonly content: string;
}

export type Message = Begin | Commit | RelationMessage | LogicalMessage | Change;

/** Microseconds between 1970 and 2000, where PostgreSQL's clock begins. */
export const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;

const BEGIN = 0x42;
const COMMIT = 0x43;
const DELETE = 0x44;
const INSERT = 0x49;
const MESSAGE = 0x4d;
const NEW = 0x4e;
const ORIGIN = 0x4f;
const RELATION = 0x52;
const TRUNCATE = 0x54;
const UPDATE = 0x55;
const TYPE = 0x59;

/** A row that was sent whole; its text is made when it is asked for. */
class WholeRow {
  readonly kind: 'insert' | 'update';
  readonly relation: Relation;
  readonly wire: WireRow;
  readonly old: Tuple | undefined;

  constructor(kind: 'insert' | 'update', wire: WireRow, old: Tuple | undefined) {
    this.kind = kind;
    this.relation = wire.relation;
    this.wire = wire;
    this.old = old;
  }

  get row(): Tuple {
    return this.wire.values;
  }
}

/**
 * Decodes pgoutput, protocol 1, text format (PostgreSQL manual, 53.9). Values stay the text that the server printed.
 * It keeps the table descriptions of one stream: make a new one for every connection.
 */
export class PgoutputDecoder {
  readonly #relations = new Map<number, Relation>();
  #buffer: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;

  /**
   * Decodes the message between `start` and `end`. Rows go on referring to `buffer`, which must not change any more.
   * @returns undefined for messages that carry nothing for us (types, origins).
   * @throws Error on anything that protocol 1 does not have.
   */
  decode(buffer: Buffer, start = 0, end = buffer.length): Message | undefined {
    this.#buffer = buffer;
    this.#at = start + 1;
    this.#end = end;
    switch (buffer[start]) {
      case BEGIN:
        return { kind: 'begin', finalLsn: this.#lsn(), commitMicros: this.#time(), xid: this.#uint32() };
      case COMMIT: {
        this.#at += 1;
        return { kind: 'commit', finalLsn: this.#lsn(), endLsn: this.#lsn(), commitMicros: this.#time() };
      }
      case INSERT: {
        const relation = this.#relation();
        this.#expect(NEW);
        return new WholeRow('insert', this.#tuple(relation), undefined) as Change;
      }
      case UPDATE:
        return this.#update();
      case DELETE: {
        const relation = this.#relation();
        this.#at += 1;
        return { kind: 'delete', relation, old: this.#tuple(relation).values };
      }
      case TRUNCATE:
        return this.#truncate();
      case RELATION:
        return { kind: 'relation', relation: this.#description() };
      case MESSAGE:
        return this.#message();
      case ORIGIN:
      case TYPE:
        return undefined;
      default:
        throw new Error(`pgoutput sent a message of kind ${buffer[start]}, which protocol 1 does not have`);
    }
  }

  #update(): Change {
    const relation = this.#relation();
    let marker = this.#byte();
    let old: Tuple | undefined;
    if (marker !== NEW) {
      old = this.#tuple(relation).values;
      marker = this.#byte();
    }
    if (marker !== NEW) throw new Error('pgoutput sent an UPDATE without a new row');
    const wire = this.#tuple(relation);
    if (wire.complete) return new WholeRow('update', wire, old) as Change;
    const row = wire.values;
    // Under REPLICA IDENTITY FULL an unchanged value is left out of the new row only.
    if (old !== undefined && relation.identity === 'f')
      for (let i = 0; i < row.length; i++) if (row[i] === undefined) row[i] = old[i];
    return { kind: 'update', relation, row, old };
  }

  #truncate(): Change {
    const count = this.#uint32();
    this.#at += 1;
    const relations: Relation[] = [];
    for (let i = 0; i < count; i++) relations.push(this.#relation());
    return { kind: 'truncate', relations };
  }

  #message(): LogicalMessage {
    const transactional = (this.#byte() & 1) === 1;
    const lsn = this.#lsn();
    const prefix = this.#string();
    const length = this.#uint32();
    const content = this.#buffer.toString('utf8', this.#at, this.#at + length);
    return { kind: 'message', transactional, lsn, prefix, content };
  }

  #description(): Relation {
    const oid = this.#uint32();
    // An empty name stands for pg_catalog.
    const schema = this.#string() || 'pg_catalog';
    const name = this.#string();
    const identity = String.fromCharCode(this.#byte());
    const columns: RelationColumn[] = [];
    const count = this.#uint16();
    for (let i = 0; i < count; i++)
      columns.push({
        key: (this.#byte() & 1) === 1,
        name: this.#string(),
        typeOid: this.#uint32(),
        typeModifier: this.#uint32() | 0,
      });
    const relation = { oid, schema, name, identity, columns };
    this.#relations.set(oid, relation);
    return relation;
  }

  #relation(): Relation {
    const oid = this.#uint32();
    const relation = this.#relations.get(oid);
    if (relation === undefined)
      throw new Error(`pgoutput sent a change of table ${oid} before its description`);
    return relation;
  }

  #tuple(relation: Relation): WireRow {
    const row = new WireRow(relation, this.#buffer, this.#at, this.#end);
    this.#at = row.end;
    return row;
  }

  #expect(marker: number): void {
    if (this.#byte() !== marker) throw new Error('pgoutput sent a change without a row');
  }

  #byte(): number {
    const value = this.#buffer[this.#at++];
    if (value === undefined) throw new Error('pgoutput sent a message that is too short');
    return value;
  }

  #uint16(): number {
    this.#at += 2;
    return this.#buffer.readUInt16BE(this.#at - 2);
  }

  #uint32(): number {
    this.#at += 4;
    return this.#buffer.readUInt32BE(this.#at - 4);
  }

  #lsn(): Lsn {
    this.#at += 8;
    return this.#buffer.readBigUInt64BE(this.#at - 8);
  }

  #time(): bigint {
    this.#at += 8;
    return this.#buffer.readBigInt64BE(this.#at - 8) + POSTGRES_EPOCH_MICROS;
  }

  #string(): string {
    const end = this.#buffer.indexOf(0, this.#at);
    if (end < 0) throw new Error('pgoutput sent a text without an end');
    const text = this.#buffer.toString('utf8', this.#at, end);
    this.#at = end + 1;
    return text;
  }
}

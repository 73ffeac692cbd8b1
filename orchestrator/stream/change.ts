import type { Lsn } from '../pg/lsn.ts';
import type { WireRow } from './wire-row.ts';

/** One value as pgoutput printed it; `undefined` is an unchanged TOAST value that was not sent. */
export type Value = string | null | undefined;

/** The values of one row, in the order of its relation's columns. */
export type Tuple = readonly Value[];

export interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  /** Part of the replica identity. */
  readonly key: boolean;
}

/** A published table as the stream describes it; a new description is a new object. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** `d` default, `f` full, `i` index, `n` nothing. */
  readonly identity: string;
  readonly columns: readonly RelationColumn[];
}

/** One committed source transaction. */
export interface SourceTransaction {
  /** 32-bit transaction id. */
  readonly xid: number;
  /** Where its commit record starts: what a snapshot's consistent point is compared with. */
  readonly finalLsn: Lsn;
  /** Where its commit record ends: what is stored and acknowledged. */
  readonly endLsn: Lsn;
  /** Microseconds since the Unix epoch, on the source's clock. */
  readonly commitMicros: bigint;
}

/**
 * One change of a row, or a TRUNCATE. `old` is there when the key changed, or under REPLICA IDENTITY FULL; `wire` when
 * every value of the new row was sent: the same row, as it came.
 */
export type Change =
  | {
      readonly kind: 'insert';
      readonly relation: Relation;
      readonly row: Tuple;
      readonly wire?: WireRow | undefined;
    }
  | {
      readonly kind: 'update';
      readonly relation: Relation;
      readonly row: Tuple;
      readonly old: Tuple | undefined;
      readonly wire?: WireRow | undefined;
    }
  | { readonly kind: 'delete'; readonly relation: Relation; readonly old: Tuple }
  | { readonly kind: 'truncate'; readonly relations: readonly Relation[] };

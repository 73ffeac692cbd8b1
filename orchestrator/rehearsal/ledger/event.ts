import { createHash } from 'node:crypto';
import type { Side } from '../../pg/side.ts';
import type { SourceColumn } from '../source-columns.ts';

/** Digests of the values a write leaves behind, by the source column whose fact they are. */
export type Writes = Readonly<Partial<Record<SourceColumn, string>>>;

/** What an operation is about. */
export type Subject =
  /** One user: the source id k, the same on both sides. */
  | { readonly user: number }
  /** A user who signs up: k is known once the write is acknowledged. */
  | { readonly signUp: true }
  /** One statement over every user with an id up to `upTo`. */
  | { readonly everyUserUpTo: number };

/** Milliseconds of the client's clocks: `mono` orders and measures, `wall` is for people. */
interface Times {
  readonly seq: number;
  readonly mono: number;
  readonly wall: number;
}

/** Written before the statement leaves the client. */
export interface SentEvent extends Times {
  readonly event: 'sent';
  readonly op: string;
  /** 1 for the first try; a refused write is tried again under the same operation. */
  readonly attempt: number;
  readonly side: Side;
  readonly kind: string;
  readonly subject: Subject;
  readonly writes: Writes;
  /** The write takes the user away. */
  readonly deletes: boolean;
}

/** The server said yes: from here on this write may not be lost. */
export interface AcknowledgedEvent extends Times {
  readonly event: 'acknowledged';
  readonly op: string;
  readonly side: Side;
  /** The user the write made, for a sign-up. */
  readonly user?: number;
}

/** Certainly not applied: refused by the server, or never committed. */
export interface FailedEvent extends Times {
  readonly event: 'failed';
  readonly op: string;
  readonly side: Side;
  /** An SQLSTATE, or a word of the driver such as `connect`. */
  readonly code: string;
}

/** The connection was lost while the write may have been committed: either result is right. */
export interface UnknownEvent extends Times {
  readonly event: 'unknown';
  readonly op: string;
  readonly side: Side;
  readonly code: string;
}

/** A moment that the reader wants to find again, e.g. the begin of a handover. */
export interface MarkEvent extends Times {
  readonly event: 'mark';
  readonly name: string;
}

export type LedgerEvent = SentEvent | AcknowledgedEvent | FailedEvent | UnknownEvent | MarkEvent;

/** What the digest of SQL NULL is. */
export const NULL_DIGEST = 'null';

/**
 * @returns the digest of a value as PostgreSQL prints it: the first 16 hex digits of its SHA-256. The ledger holds
 * no values, only these.
 */
export function digestOf(value: string | null): string {
  return value === null ? NULL_DIGEST : createHash('sha256').update(value).digest('hex').slice(0, 16);
}

/** The same digest, computed by the server; `%` stands for the expression. */
export function digestSql(expression: string): string {
  return `coalesce(left(encode(sha256(convert_to((${expression})::text, 'UTF8')), 'hex'), 16), '${NULL_DIGEST}')`;
}

import type { ClientBase } from 'pg';
import type { Relations } from '../../src/mapping/sql.ts';
import type { Side } from '../pg/side.ts';
import { HIGHEST, LOWEST, type Scope } from './scope.ts';

/** Where the next chunk ends: after `$2` rows of the serving side from `$1` on, whatever gaps the ids have. */
const boundSql = (r: Relations, serving: Side) => `
  SELECT t."id"::text AS id
  FROM ${serving === 'blue' ? r.userSettings : r.user} AS t
  WHERE t."id" >= $1::bigint
  ORDER BY t."id"
  OFFSET $2
  LIMIT 1`;

/**
 * Cuts the source ids into chunks of `size` rows, lazily; the first and the last one are open-ended, so that a row with
 * an id nobody expects is in one of them. Safe to be called by several workers at once.
 */
export class Chunks {
  readonly #reader: ClientBase;
  readonly #sql: string;
  readonly #size: number;
  #lower: bigint | undefined = LOWEST;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(reader: ClientBase, relations: Relations, serving: Side, size: number) {
    this.#reader = reader;
    this.#sql = boundSql(relations, serving);
    this.#size = size;
  }

  /** @returns the next chunk, or undefined after the last one. */
  next(): Promise<Scope | undefined> {
    const next = this.#turn.then(() => this.#cut());
    this.#turn = next.catch(() => {});
    return next;
  }

  async #cut(): Promise<Scope | undefined> {
    const lower = this.#lower;
    if (lower === undefined) return undefined;
    const { rows } = await this.#reader.query<{ id: string }>(this.#sql, [lower.toString(), this.#size]);
    const upper = rows[0] === undefined ? HIGHEST : BigInt(rows[0].id);
    this.#lower = rows[0] === undefined ? undefined : upper;
    return { kind: 'range', lower, upper };
  }
}

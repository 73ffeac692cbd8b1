import type pg from 'pg';
import { RAW_TEXT } from '../connection.ts';

/** The statement was accepted and found no row: the user is not there (any more), or the schema cannot say this. */
export class NothingWritten extends Error {
  override readonly name = 'NothingWritten';
}

/** What is known about a write that did not get its acknowledgement. */
export interface Outcome {
  /** `failed`: certainly not applied. `unknown`: the commit may have happened. */
  readonly verdict: 'failed' | 'unknown';
  /** SQLSTATE, or the driver's word. */
  readonly code: string;
}

/**
 * One try of a write on one connection. It remembers whether a statement left that could have committed: only then
 * may a lost connection hide a success.
 */
export class Attempt {
  readonly #client: pg.Client;
  #mayBeCommitted = false;
  #inTransaction = false;

  constructor(client: pg.Client) {
    this.#client = client;
  }

  /** A statement that commits by itself. */
  async autocommit(
    text: string,
    values: (string | null)[],
  ): Promise<pg.QueryResult<Record<string, string | null>>> {
    this.#mayBeCommitted = true;
    return await this.#client.query<Record<string, string | null>>({ text, values, types: RAW_TEXT });
  }

  /** A read, or a statement inside the transaction: alone it commits nothing. */
  async statement(
    text: string,
    values: (string | null)[],
  ): Promise<pg.QueryResult<Record<string, string | null>>> {
    return await this.#client.query<Record<string, string | null>>({ text, values, types: RAW_TEXT });
  }

  async transaction<T>(work: () => Promise<T>): Promise<T> {
    await this.#client.query('BEGIN');
    this.#inTransaction = true;
    const result = await work();
    this.#mayBeCommitted = true;
    const { command } = await this.#client.query('COMMIT');
    this.#inTransaction = false;
    if (command !== 'COMMIT')
      throw Object.assign(new Error('the server rolled back'), { code: 'rollback', severity: 'ERROR' });
    return result;
  }

  /** Leaves the connection without an open transaction. @returns false when it cannot be used any more. */
  async tidy(): Promise<boolean> {
    if (!this.#inTransaction) return true;
    this.#inTransaction = false;
    try {
      await this.#client.query('ROLLBACK');
      return true;
    } catch {
      return false;
    }
  }

  judge(error: unknown): Outcome {
    if (error instanceof NothingWritten) return { verdict: 'failed', code: 'nothing-written' };
    const { code = 'connection', severity } = error as { code?: string; severity?: string };
    // An ERROR is the server's own word that the statement did nothing. A FATAL one may come after the commit.
    if (severity === 'ERROR') return { verdict: 'failed', code };
    return { verdict: this.#mayBeCommitted ? 'unknown' : 'failed', code };
  }
}

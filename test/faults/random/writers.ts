/** Eight applications that change blue at random, and remember what was acknowledged to them. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { oneOf, type Random, seeded } from '../../support/seeded.ts';
import { DRAWN, ENDINGS, FIRST_WITNESS, OPERATIONS } from './operations.ts';

export const CONNECTIONS = 8;
/** Acknowledged transactions that make a run. */
export const ENOUGH = 500;
const WITNESSES_EACH = 100_000;

/** One transaction, as the connection that made it knows it. */
export interface Tried {
  readonly kinds: readonly string[];
  /** A row that this transaction inserts, with a value of its own. */
  readonly witness: number;
  readonly token: string;
  readonly begunAt: number;
  endedAt: number;
  outcome: 'acknowledged' | 'refused' | 'unknown';
}

/** A lock that is not had soon is given up: writers collide on purpose. */
const SETTINGS = '-c lock_timeout=300 -c statement_timeout=5000';

export class Writers {
  readonly tried: Tried[] = [];
  readonly open = new Set<Tried>();
  acknowledged = 0;
  readonly #url: string;
  readonly #seed: number;
  readonly #work: Promise<void>[];
  #stopped = false;

  constructor(url: string, seed: number) {
    this.#url = url;
    this.#seed = seed;
    this.#work = Array.from({ length: CONNECTIONS }, (_, n) => this.#write(n, seeded(seed * 1_000 + n)));
  }

  /** Ends after the transactions in hand. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#work);
  }

  async #write(writer: number, next: Random): Promise<void> {
    let client: pg.Client | undefined;
    for (let n = 0; !this.#stopped; n++) {
      try {
        client ??= await this.#connect(writer);
      } catch {
        await delay(20);
        continue;
      }
      if (!(await this.#transaction(client, writer, n, next))) {
        await client.end().catch(() => undefined);
        client = undefined;
      }
      // What is asked for is enough; the rest only keeps something going while faults strike.
      await delay(this.acknowledged < ENOUGH ? 5 + next(20) : 300 + next(200));
    }
    await client?.end().catch(() => undefined);
  }

  async #connect(writer: number): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.#url,
      options: SETTINGS,
      connectionTimeoutMillis: 2_000,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      // What it had prepared when it lost its session holds locks.
      const { rows } = await client.query<{ gid: string }>(
        'SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, $1)',
        [`${this.#seed}.${writer}.`],
      );
      for (const { gid } of rows) await client.query(`COMMIT PREPARED ${pg.escapeLiteral(gid)}`);
      return client;
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
  }

  /** @returns whether the session can be used again. */
  async #transaction(client: pg.Client, writer: number, n: number, next: Random): Promise<boolean> {
    const names = Array.from({ length: 1 + next(2) }, () => oneOf(next, DRAWN));
    const ending = next(3) === 0 ? oneOf(next, ENDINGS) : undefined;
    const witness = FIRST_WITNESS + writer * WITNESSES_EACH + n;
    const name = `${this.#seed}.${writer}.${n}`;
    const tried: Tried = {
      kinds: [...new Set([...names, ...(ending === undefined ? [] : [ending])])],
      witness,
      token: `t${name}`,
      begunAt: performance.now(),
      endedAt: Number.POSITIVE_INFINITY,
      outcome: 'unknown',
    };
    this.tried.push(tried);
    this.open.add(tried);
    let committing = false;
    try {
      await client.query('BEGIN');
      await client.query(
        'INSERT INTO user_settings (id, keycloak_user_id, language, accepted_tos) VALUES ($1, $2, $3, clock_timestamp())',
        [witness, next(3) === 0 ? null : `w${witness}`, tried.token],
      );
      for (const [i, operation] of names.entries()) {
        // Others commit meanwhile what began later.
        if (ending === 'interleaved') await delay(10 + next(40));
        await OPERATIONS[operation]?.({ client, next, name: `${name}.${i}` });
      }
      switch (ending) {
        case 'rollback':
          await client.query('ROLLBACK');
          tried.outcome = 'refused';
          break;
        case 'prepared':
          committing = true;
          await client.query(`PREPARE TRANSACTION ${pg.escapeLiteral(name)}`);
          await delay(next(30));
          await client.query(`COMMIT PREPARED ${pg.escapeLiteral(name)}`);
          tried.outcome = 'acknowledged';
          break;
        case 'prepared, undone':
          // Should the connection end in between, it is committed instead.
          committing = true;
          await client.query(`PREPARE TRANSACTION ${pg.escapeLiteral(name)}`);
          await client.query(`ROLLBACK PREPARED ${pg.escapeLiteral(name)}`);
          tried.outcome = 'refused';
          break;
        default: {
          committing = true;
          const { command } = await client.query('COMMIT');
          tried.outcome = command === 'COMMIT' ? 'acknowledged' : 'refused';
        }
      }
      if (tried.outcome === 'acknowledged') this.acknowledged += 1;
      return true;
    } catch {
      // Before the commit was sent nothing can have been committed; afterwards the comparison finds out.
      if (!committing) tried.outcome = 'refused';
      return await client.query('ROLLBACK').then(
        () => true,
        () => false,
      );
    } finally {
      tried.endedAt = performance.now();
      this.open.delete(tried);
    }
  }
}

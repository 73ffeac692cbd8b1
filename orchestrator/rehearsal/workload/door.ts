import type pg from 'pg';
import { otherSide, type Side } from '../../pg/side.ts';
import { type Database, openSession } from '../connection.ts';

/** Which side the application is told to use. Without a `target` clients find out by knocking. */
export class Doors {
  readonly databases: Readonly<Record<Side, Database>>;
  readonly #target: (() => Side) | undefined;
  #lastOpen: Side;

  constructor(databases: Readonly<Record<Side, Database>>, target: (() => Side) | undefined, first: Side) {
    this.databases = databases;
    this.#target = target;
    this.#lastOpen = first;
  }

  /** The side for a first try. */
  current(): Side {
    return this.#target?.() ?? this.#lastOpen;
  }

  /** The side for the next try after `refused` said no: the target's word, or else the other door. */
  after(refused: Side): Side {
    return this.#target?.() ?? otherSide(refused);
  }

  accepted(side: Side): void {
    this.#lastOpen = side;
  }
}

/** One client's connections, one a side, opened when needed. */
export class Connections {
  readonly #databases: Readonly<Record<Side, Database>>;
  readonly #name: string;
  readonly #open: Partial<Record<Side, pg.Client>> = {};

  constructor(databases: Readonly<Record<Side, Database>>, name: string) {
    this.#databases = databases;
    this.#name = name;
  }

  async to(side: Side): Promise<pg.Client> {
    const open = this.#open[side];
    if (open !== undefined) return open;
    const client = await openSession(this.#databases[side], this.#name);
    this.#open[side] = client;
    client.once('end', () => {
      if (this.#open[side] === client) delete this.#open[side];
    });
    return client;
  }

  /** Closes at once, also in the middle of a statement. */
  async drop(side: Side): Promise<void> {
    const client = this.#open[side];
    delete this.#open[side];
    await client?.end().catch(() => undefined);
  }

  async close(): Promise<void> {
    await Promise.all([this.drop('blue'), this.drop('green')]);
  }
}

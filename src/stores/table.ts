import {
  DataTypes,
  type Model,
  type ModelStatic,
  QueryTypes,
  type Sequelize,
  type Transaction,
} from 'sequelize';
import { ident, qualified } from '../mapping/identifier.ts';

/** What every method of a store takes last. */
export interface StoreOptions {
  /** Runs the statement in this transaction instead of one of its own. */
  readonly transaction?: Transaction;
}

/** How a list is read: in the order of its key, from the beginning or after a key that was read before. */
export interface ListOptions extends StoreOptions {
  /** At most this many rows; default 100. */
  readonly limit?: number;
  /** Rows whose id is higher. */
  readonly afterId?: number;
}

type Value = string | number | boolean | null | undefined;

/** Columns and values; `undefined` is left out, `null` is NULL. */
type Values = { readonly [column: string]: Value };

/**
 * Single statements on one table, for the stores. Values travel as parameters; json and timestamps are read as text.
 * Nothing but columns of the model is ever written into a statement.
 */
export class Table<Row extends object> {
  private readonly sequelize: Sequelize;
  readonly relation: string;
  /** The select list: every column, as the row type says. */
  readonly columns: string;
  private readonly names: ReadonlySet<string>;

  constructor(model: ModelStatic<Model>) {
    if (model.sequelize === undefined) throw new Error(`${model.name} is not bound to a connection`);
    this.sequelize = model.sequelize;
    const { schema, tableName } = model.getTableName() as { schema: string; tableName: string };
    this.relation = qualified(schema, tableName);
    const attributes = Object.entries(model.getAttributes());
    this.names = new Set(attributes.map(([name]) => name));
    this.columns = attributes
      .map(([name, { type }]) => {
        const column = `t.${ident(name)}`;
        return type instanceof DataTypes.TEXT ? `${column}::text AS ${ident(name)}` : column;
      })
      .join(', ');
  }

  /** @returns the row as the server stored it, defaults included. */
  async insert(values: Values, options?: StoreOptions): Promise<Row> {
    const { names, bind } = this.given(values);
    const list = names.map(ident).join(', ');
    const places = names.map((_, i) => `$${i + 1}`).join(', ');
    const filled = names.length === 0 ? 'DEFAULT VALUES' : `(${list}) VALUES (${places})`;
    const rows = await this.query(
      `INSERT INTO ${this.relation} AS t ${filled} RETURNING ${this.columns}`,
      bind,
      options,
    );
    return this.one(rows);
  }

  /** @returns the rows whose columns equal the values; NULL is found by `null`. */
  async select(where: Values, options?: ListOptions): Promise<Row[]> {
    const { clause, bind } = this.where(where, 1);
    const after = options?.afterId === undefined ? '' : ` AND t."id" > $${bind.push(options.afterId)}`;
    const limit = options?.limit === undefined ? '' : ` LIMIT $${bind.push(options.limit)}`;
    return this.query(
      `SELECT ${this.columns} FROM ${this.relation} AS t WHERE ${clause}${after} ORDER BY 1${limit}`,
      bind,
      options,
    );
  }

  async first(where: Values, options?: StoreOptions): Promise<Row | null> {
    return (await this.select(where, { ...options, limit: 1 }))[0] ?? null;
  }

  /** Changes only the columns that are given. @returns the changed rows; of none, those that are there. */
  async update(where: Values, changes: Values, options?: StoreOptions): Promise<Row[]> {
    const { names, bind } = this.given(changes);
    if (names.length === 0) return this.select(where, options);
    const assignments = names.map((name, i) => `${ident(name)} = $${i + 1}`).join(', ');
    const { clause, bind: more } = this.where(where, names.length + 1);
    return this.query(
      `UPDATE ${this.relation} AS t SET ${assignments} WHERE ${clause} RETURNING ${this.columns}`,
      [...bind, ...more],
      options,
    );
  }

  /** @returns how many rows were removed. */
  async remove(where: Values, options?: StoreOptions): Promise<number> {
    const { clause, bind } = this.where(where, 1);
    return (await this.query(`DELETE FROM ${this.relation} AS t WHERE ${clause} RETURNING 1`, bind, options))
      .length;
  }

  /** Runs one statement whose rows are of another shape. */
  async query<R extends object = Row>(
    sql: string,
    bind: readonly Value[],
    options?: StoreOptions,
  ): Promise<R[]> {
    return this.sequelize.query<R>(sql, {
      type: QueryTypes.SELECT,
      bind: [...bind],
      ...(options?.transaction === undefined ? {} : { transaction: options.transaction }),
    });
  }

  private given(values: Values): { names: string[]; bind: Value[] } {
    const names = Object.keys(values).filter((name) => values[name] !== undefined);
    for (const name of names)
      if (!this.names.has(name)) throw new RangeError(`${this.relation} has no column ${name}`);
    return { names, bind: names.map((name) => values[name]) };
  }

  private where(where: Values, first: number): { clause: string; bind: Value[] } {
    const { names, bind } = this.given(where);
    const conditions: string[] = [];
    const values: Value[] = [];
    names.forEach((name, i) => {
      if (bind[i] === null) conditions.push(`t.${ident(name)} IS NULL`);
      else conditions.push(`t.${ident(name)} = $${first - 1 + values.push(bind[i])}`);
    });
    return { clause: conditions.length === 0 ? 'true' : conditions.join(' AND '), bind: values };
  }

  private one(rows: readonly Row[]): Row {
    const row = rows[0];
    if (row === undefined) throw new Error(`${this.relation} returned no row`);
    return row;
  }
}

export const LIST_LIMIT = 100;

import {
  DataTypes,
  type FindOptions,
  type InferAttributes,
  literal,
  type Model,
  type ModelAttributeColumnOptions,
  type ModelAttributes,
} from 'sequelize';
import { ident } from '../mapping/identifier.ts';

/** A column as the mapping declares it. */
interface Declared {
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
  readonly default?: string;
}

/** json and timestamp are exchanged as text: the driver's objects lose microseconds, infinities and key order. */
const TYPES: Readonly<Record<string, () => ModelAttributeColumnOptions['type']>> = {
  integer: () => DataTypes.INTEGER,
  'character varying': () => DataTypes.STRING,
  boolean: () => DataTypes.BOOLEAN,
  'double precision': () => DataTypes.DOUBLE,
  json: () => DataTypes.TEXT,
  'timestamp without time zone': () => DataTypes.TEXT,
};

/** The identity column that every table but the memberships has. */
export const ID: ModelAttributeColumnOptions = {
  type: DataTypes.INTEGER,
  primaryKey: true,
  autoIncrement: true,
  autoIncrementIdentity: true,
};

/** @returns `id` and the declared columns as attributes of a model. */
export function attributesOf<M extends Model>(
  columns: readonly Declared[],
): ModelAttributes<M, InferAttributes<M>> {
  const attributes: Record<string, ModelAttributeColumnOptions> = { id: ID };
  for (const c of columns) {
    const type = TYPES[c.type];
    if (type === undefined) throw new Error(`no attribute type for ${c.type}`);
    // The server's own default applies where no value is given.
    attributes[c.name] = { type: type(), allowNull: !c.notNull || c.default !== undefined };
  }
  return attributes as ModelAttributes<M, InferAttributes<M>>;
}

/** @returns the default scope of a model some of whose columns are read as text: the server casts them. */
export function readingAsText(names: readonly string[]): FindOptions {
  return {
    attributes: { include: names.map((name) => [literal(`${ident(name)}::text`), name]) },
  };
}

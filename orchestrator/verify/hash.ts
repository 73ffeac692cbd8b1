import type { ClientBase } from 'pg';

/** A value to be hashed: SQL and its declared type. */
export interface Hashed {
  readonly sql: string;
  readonly type: string;
}

/**
 * How rows are hashed inside PostgreSQL: SQL of type bigint. `seed` is SQL too; two seeds give unrelated hashes.
 * Equal text gives equal hashes, and other text other ones but for one chance in 2^64.
 */
export interface Hash {
  readonly name: 'record' | 'sha256';
  ofRow(values: readonly Hashed[], seed: string): string;
  /** Of the text of one value; NULL stays NULL. */
  ofValue(value: Hashed): string;
}

/**
 * Types whose equality is that of their text, so that they need not be printed to be hashed. Not `double precision`
 * (−0 = 0) and not `json` (no equality).
 */
const NATIVE = new Set([
  'integer',
  'bigint',
  'boolean',
  'character varying',
  'text',
  'timestamp without time zone',
]);

const native = (v: Hashed): string => (NATIVE.has(v.type) ? `(${v.sql})::${v.type}` : `(${v.sql})::text`);

/**
 * PostgreSQL's own row hash: three times as fast as printing the row. It combines column hashes linearly, so values
 * swapped between two rows could cancel in an aggregate: the outer hash prevents that.
 */
const recordHash: Hash = {
  name: 'record',
  ofRow: (values, seed) =>
    `hashint8extended(hash_record_extended(ROW(${values.map(native).join(', ')}), 0), ${seed})`,
  ofValue: (v) => `hashtextextended((${v.sql})::text COLLATE "C", 0)`,
};

const sha256Hash: Hash = {
  name: 'sha256',
  ofRow: (values, seed) =>
    sha256Bits(`(${seed})::text || ROW(${values.map((v) => `(${v.sql})::text`).join(', ')})::text`),
  ofValue: (v) => sha256Bits(`(${v.sql})::text`),
};

/** The first 64 bits; of the UTF-8 bytes, whatever the encoding of the database. */
function sha256Bits(text: string): string {
  return `('x' || left(encode(sha256(convert_to(${text}, 'UTF8')), 'hex'), 16))::bit(64)::bigint`;
}

const TEST_VECTOR: readonly Hashed[] = [
  { sql: `'${'a'.repeat(300)}'`, type: 'text' },
  { sql: `'é e\u0301 \u{1f468}\u200d\u{1f469} 漢字 '`, type: 'character varying' },
  { sql: `''`, type: 'text' },
  { sql: 'NULL', type: 'text' },
  { sql: '-2147483648', type: 'integer' },
  { sql: '4294967297', type: 'bigint' },
  { sql: 'true', type: 'boolean' },
  { sql: `'-infinity'`, type: 'timestamp without time zone' },
  { sql: `'2025-01-01 00:00:00.123456'`, type: 'timestamp without time zone' },
];

const ENCODING = `SELECT current_setting('server_encoding') AS encoding`;

const VECTOR = `
  SELECT ${recordHash.ofRow(TEST_VECTOR, '0')}
         || ' ' || ${recordHash.ofRow(TEST_VECTOR, '1')}
         || ' ' || ${TEST_VECTOR.filter((v) => v.sql !== 'NULL')
           .map((v) => recordHash.ofValue(v))
           .join(` || ' ' || `)} AS vector`;

/**
 * Chooses the hash. PostgreSQL promises nobody that its internal hashes agree between versions and platforms, so both
 * servers show it on a test vector; otherwise sha256 is used, at a quarter of the speed.
 */
export async function agreeOnHash(blue: ClientBase, green: ClientBase): Promise<Hash> {
  const vector = async (client: ClientBase): Promise<string> => {
    const { rows } = await client.query<{ vector: string }>(VECTOR);
    return rows[0]?.vector ?? '';
  };
  // The bytes that are hashed are those of the database's own encoding.
  for (const client of [blue, green]) {
    const { rows } = await client.query<{ encoding: string }>(ENCODING);
    if (rows[0]?.encoding !== 'UTF8') return sha256Hash;
  }
  const [a, b] = await Promise.all([vector(blue), vector(green)]);
  return a !== '' && a === b ? recordHash : sha256Hash;
}

/** Both, for tests. */
export const HASHES: readonly Hash[] = [recordHash, sha256Hash];

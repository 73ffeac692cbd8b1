import type pg from 'pg';
import type { Database } from './connection.ts';
import { pythonString } from './generator/mcp-config.ts';
import { uuid } from './generator/people.ts';
import { createRandom, type Random } from './generator/random.ts';
import { copyRows, settleTable, withTextSession } from './generator.ts';
import { SOURCE_COLUMN_NAMES, type SourceColumn, type SourceRow } from './source-columns.ts';

export interface ZooRequest {
  readonly seed?: number | string;
  /** Rows; default 1,000. Every value of the zoo is there from about 300 on. */
  readonly rows?: number;
  /** The first of the ordinary ids; default 1. A few negative ids come on top. */
  readonly firstId?: number;
  /** Adds the highest id an integer can hold: no sign-up is possible on that table any more. */
  readonly maximalId?: boolean;
  /** Length of the longest text; default 1 MB. 100 MB is what a careful test asks for. */
  readonly longestBytes?: number;
}

/** Texts that something between two databases likes to change. */
export const TEXTS: readonly (string | null)[] = [
  null,
  '',
  ' ',
  'trailing   ',
  '  leading',
  'NULL',
  'null',
  '\\',
  '\\\\',
  '\\N',
  '\\.',
  '\\.\n',
  '\\n\\t\\x41\\101',
  'tab\there',
  'line\nfeed',
  'carriage\rreturn',
  'both\r\n',
  '\b\f\v\u0001\u007f',
  "it's",
  '"quoted"',
  '{"a","b"}',
  '(1,"x")',
  '$1 %s :name ?',
  "'; DROP TABLE user_settings; --",
  'caf\u00e9',
  'cafe\u0301',
  '\u212bngstro\u0308m \u00c5',
  '\u6f22\u5b57 \u304b\u306a \ud55c\uae00',
  '\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627',
  '\u202e\u202c\u200b\u200d\ufeff',
  '\u{1f469}\u{1f3fd}\u200d\u{1f4bb} \u{1f468}\u200d\u{1f469}\u200d\u{1f467}\u200d\u{1f466} \u{1f1ea}\u{1f1fa}',
  '\u{10ffff}\uffff\ufffd',
  '\u0130\u0131\u00df\u017f\u2028\u2029\u0085\u00a0',
  'Zalgo'.split('').join('\u0300\u0301\u0302\u0303\u0304'),
];

/** Doubles, as PostgreSQL prints them with extra_float_digits 3. */
export const DOUBLES: readonly (string | null)[] = [
  null,
  '0',
  '-0',
  '1',
  'NaN',
  'Infinity',
  '-Infinity',
  '5e-324',
  '-5e-324',
  '2.2250738585072014e-308',
  '1.7976931348623157e+308',
  '-1.7976931348623157e+308',
  '0.1',
  '0.30000000000000004',
  '9.999999999999999e+22',
  '9.007199254740992e+15',
  '1.2345678901234568e+17',
  '1e-07',
];

export const TIMESTAMPS: readonly (string | null)[] = [
  null,
  'infinity',
  '-infinity',
  '4713-01-01 00:00:00 BC',
  '0044-03-15 12:00:00.000001 BC',
  '0001-01-01 00:00:00',
  '1582-10-10 00:00:00',
  '1970-01-01 00:00:00',
  '2024-02-29 23:59:59.999999',
  '2026-03-29 02:30:00.1',
  '2038-01-19 03:14:08.000001',
  '9999-12-31 23:59:59.999999',
  '10000-01-01 00:00:00',
  '294276-12-31 23:59:59.999999',
];

/** json is text to PostgreSQL: whatever a parser would tidy up has to stay. */
export const JSONS: readonly (string | null)[] = [
  null,
  'null',
  ' null ',
  'true',
  '""',
  '{}',
  '[ ]',
  '{"b": 1, "a": 2}',
  '{"a": 1, "a": 2, "a": null}',
  '{ "spaced" :\t[ 1 ,\n 2 ] }\n',
  '{"zero": "\\u0000", "e": "\\u00e9", "pair": "\\ud83d\\ude00", "slash": "\\/ \\\\ \\""}',
  '{"raw": "\u00e9 \u6f22 \u{1f600}"}',
  '[12345678901234567890, 1.10, 1E400, -0, 0.1e-7, 1e2]',
  `{"deep": ${'['.repeat(200)}${']'.repeat(200)}}`,
  '{"": "", " ": " "}',
];

const INTEGERS: readonly (string | null)[] = [null, '0', '-1', '1', '2147483647', '-2147483648'];
const BOOLEANS: readonly (string | null)[] = [null, 't', 'f'];

/** Keys that are not each other, though a careless comparison says so; NULL, '' and repeated ones among them. */
const KEYS: readonly (string | null)[] = [
  null,
  null,
  '',
  '',
  'abcdefab-0000-4000-8000-00000000abcd',
  'ABCDEFAB-0000-4000-8000-00000000ABCD',
  'abcdefab-0000-4000-8000-00000000abcd ',
  'caf\u00e9-key',
  'cafe\u0301-key',
  '0',
  '00',
  '4711',
  '\\N',
  '\\.',
  'tab\tkey',
  'line\nkey',
  '\u6f22\u5b57',
  '\u{1f469}\u200d\u{1f4bb}',
  ' ',
  'NULL',
  'repeated-key',
  'repeated-key',
  'repeated-key',
  "o'key",
  'k'.repeat(2_000),
];

/** Around the sizes at which a value is compressed, moved out of line, and cut into pieces. */
const SIZES = [1_900, 1_996, 1_997, 2_000, 2_032, 2_048, 4_000, 8_000, 8_160, 8_192, 16_384, 100_000];

function sized(random: Random, bytes: number, compressible: boolean): string {
  // PostgreSQL's compression looks back a few kilobytes: a repeat at the distance of a megabyte escapes it.
  const unit = compressible ? 'compressible ' : random.secret(Math.min(bytes, 1_000_000));
  return unit.repeat(Math.ceil(bytes / unit.length)).slice(0, bytes);
}

/** The columns of text, but for the key. */
export const TEXT_COLUMNS = [
  'language',
  'agent',
  'security_analyzer',
  'llm_model',
  'llm_api_key',
  'llm_base_url',
  'sandbox_base_container_image',
  'sandbox_runtime_container_image',
  'search_api_key',
  'sandbox_api_key',
  'email',
] as const satisfies readonly SourceColumn[];

const INTEGER_COLUMNS = ['max_iterations', 'remote_runtime_resource_factor'] as const;
const BOOLEAN_COLUMNS = [
  'confirmation_mode',
  'user_consents_to_analytics',
  'enable_sound_notifications',
  'enable_solvability_analysis',
  'email_verified',
] as const;

function cycle<T>(values: readonly T[], n: number): T {
  return values[((n % values.length) + values.length) % values.length] as T;
}

/** Row n: every list is walked at its own pace, so that values meet in many combinations. */
function zooRow(random: Random, n: number, id: number, longestBytes: number): SourceRow {
  const row: Partial<Record<SourceColumn, string | null>> = { id: String(id) };
  TEXT_COLUMNS.forEach((column, c) => {
    row[column] = cycle(TEXTS, n * (c + 1) + c);
  });
  INTEGER_COLUMNS.forEach((column, c) => {
    row[column] = cycle(INTEGERS, n + c);
  });
  BOOLEAN_COLUMNS.forEach((column, c) => {
    row[column] = cycle(BOOLEANS, Math.floor(n / 3 ** (c % 3)) + c);
  });
  row.keycloak_user_id = n < KEYS.length ? cycle(KEYS, n) : uuid(random);
  row.enable_default_condenser = n % 2 === 0 ? 't' : 'f';
  row.enable_proactive_conversation_starters = n % 3 === 0 ? 't' : 'f';
  row.user_version = cycle(['0', '4', '-1', '2147483647', '-2147483648'], n);
  row.billing_margin = cycle(DOUBLES, n);
  row.max_budget_per_task = cycle(DOUBLES, n * 5 + 1);
  row.accepted_tos = cycle(TIMESTAMPS, n);
  row.mcp_config = cycle(JSONS, n);
  const big = Math.floor(n / 4);
  if (n % 4 === 0 && big < SIZES.length * 2)
    row.llm_api_key = sized(random, cycle(SIZES, big), big >= SIZES.length);
  if (n % 4 === 1 && big < SIZES.length * 2)
    row.mcp_config = `{"text": ${pythonString(sized(random, cycle(SIZES, big), big >= SIZES.length))}}`;
  if (n === 42) row.llm_api_key = sized(random, longestBytes, false);
  if (n === 43) row.mcp_config = `["${sized(random, longestBytes, true)}"]`;
  for (const column of SOURCE_COLUMN_NAMES)
    if (row[column] === undefined) throw new Error(`the zoo forgot ${column}`);
  return row as SourceRow;
}

/** Rows that hold every value known to be changed by careless software (MAPPING, "edge"; FIELD-NOTES "Values"). */
export function* makeZoo(request: ZooRequest = {}): Generator<SourceRow> {
  const random = createRandom(`zoo/${request.seed ?? 1}`);
  const rows = request.rows ?? 1_000;
  const firstId = request.firstId ?? 1;
  const special = [-2_147_483_648, -1_000, -1, 0, ...(request.maximalId ? [2_147_483_647] : [])];
  for (let n = 0; n < rows; n += 1) {
    // The special ids come last: keys and sizes belong to ordinary rows.
    const at = n - (rows - special.length);
    const id = at >= 0 && rows > special.length ? (special[at] as number) : firstId + n;
    yield zooRow(random, n, id, request.longestBytes ?? 1_000_000);
  }
}

/** Fills `user_settings` with the zoo. @returns how many rows the server counted. */
export async function loadValueZoo(
  target: pg.Client | Database,
  request: ZooRequest & { readonly schema?: string } = {},
): Promise<number> {
  return await withTextSession(target, 'value zoo', request.schema ?? 'public', async (client) => {
    const rows = await copyRows(client, makeZoo(request));
    await settleTable(client);
    return rows;
  });
}

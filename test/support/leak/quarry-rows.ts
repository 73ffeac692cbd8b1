/** Rows of `user_settings` in which every value that can be recognised is a marker of its column. */
import type { SourceColumn } from '../../../orchestrator/rehearsal/source-columns.ts';
import { TEXT_COLUMNS } from '../../../orchestrator/rehearsal/value-zoo.ts';
import type { Sought } from './quarry.ts';

const CORE = 'row7kq';

/** Columns of text: the marker, and behind it what breaks quoting. */
const TEXTS = ['keycloak_user_id', ...TEXT_COLUMNS] as const satisfies readonly SourceColumn[];

const NUMBERS = {
  max_iterations: '739184651',
  remote_runtime_resource_factor: '648293175',
  user_version: '573920164',
  billing_margin: '8137.62519',
  max_budget_per_task: '9251.73847',
} as const satisfies Partial<Record<SourceColumn, string>>;

/** What is sought of rows: of a text only the part that no quoting changes, so that a cut or changed value is found too. */
export const ROW_VALUES: readonly Sought[] = [
  ...TEXTS.map((column) => ({ name: column, text: markerOf(column) })),
  ...Object.entries(NUMBERS).map(([name, text]) => ({ name, text })),
  { name: 'mcp_config', text: `${CORE}mcp` },
  { name: 'accepted_tos', text: '05:06.789' },
  { name: 'accepted_tos', text: '1562990706789' },
  { name: 'org', text: `${CORE}org` },
];

function markerOf(column: (typeof TEXTS)[number]): string {
  return `${CORE}${column.replaceAll('_', '')}`;
}

/** Rows $1 to $2; every seventh key is the one of the row before, every eleventh is missing, every thirteenth empty. */
export const INSERT_MARKED = `
  INSERT INTO user_settings (id, ${TEXTS.join(', ')}, ${Object.keys(NUMBERS).join(', ')}, mcp_config, accepted_tos)
  SELECT n,
         CASE WHEN n % 11 = 0 THEN NULL WHEN n % 13 = 0 THEN '' ELSE '${markerOf('keycloak_user_id')}' || n - (n % 7 = 0)::integer END,
         ${TEXTS.slice(1)
           .map((column) => `'${markerOf(column)}''"\\&<' || n`)
           .join(',\n         ')},
         ${Object.values(NUMBERS).join(', ')},
         '{"${CORE}mcp": ["${CORE}mcp", {"api_key": "${CORE}mcp"}]}',
         '2019-07-13 04:05:06.789123'
  FROM generate_series($1::integer, $2::integer) AS n`;

/** The name of an organisation, which only green has. */
export const ORG_NAME = `${CORE}org's "own"`;

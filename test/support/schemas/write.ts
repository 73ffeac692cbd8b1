import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createGenerator } from 'ts-json-schema-generator';

export const SCHEMAS_FILE = fileURLToPath(new URL('../../../orchestrator/cli/schemas.ts', import.meta.url));
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** The source of schemas.ts, as the types of documents.ts have it now. */
export function schemasText(): string {
  const generator = createGenerator({
    path: `${ROOT}orchestrator/cli/documents.ts`,
    tsconfig: `${ROOT}tsconfig.json`,
    type: 'CommandDocuments',
    skipTypeCheck: true,
    topRef: false,
    additionalProperties: false,
  });
  const { definitions, properties } = generator.createSchema('CommandDocuments');
  const line = ([name, schema]: [string, unknown]): string =>
    `    ${JSON.stringify(name)}: ${JSON.stringify(schema)},`;
  return [
    '/**',
    ' * Made from the types of documents.ts by `npm run docs`: change those, not this. What every command prints with',
    ' * `--json` is validated against it in tests, and `orchestrate config show --json-schema` prints it.',
    ' */',
    'export const SCHEMAS: object = {',
    "  $schema: 'http://json-schema.org/draft-07/schema#',",
    "  title: 'What the commands of orchestrate print with --json, by command',",
    "  type: 'object',",
    '  additionalProperties: false,',
    '  properties: {',
    ...Object.entries(properties ?? {}).map(line),
    '  },',
    '  definitions: {',
    ...Object.entries(definitions ?? {}).map(line),
    '  },',
    '};',
    '',
  ].join('\n');
}

/** A part of `npm run docs`. */
export function writeSchemas(): void {
  const text = schemasText();
  if (readFileSync(SCHEMAS_FILE, 'utf8') !== text) writeFileSync(SCHEMAS_FILE, text);
}

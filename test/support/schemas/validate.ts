import { Ajv, type ValidateFunction } from 'ajv';
import { SCHEMAS } from '../../../orchestrator/cli/schemas.ts';

const ajv = new Ajv({ strict: false, allErrors: true }).addSchema(SCHEMAS, 'commands');
const known = new Map<string, ValidateFunction>();

/** @returns what a document of a command has wrong by its schema, at most a few; empty when it is as promised. */
export function schemaProblems(command: string, document: unknown): string[] {
  let validate = known.get(command);
  if (validate === undefined) {
    validate = ajv.compile({ $ref: `commands#/properties/${command}` });
    known.set(command, validate);
  }
  if (validate(document)) return [];
  return (validate.errors ?? [])
    .slice(0, 8)
    .map((e) => `${e.instancePath || '/'} ${e.message} ${JSON.stringify(e.params)}`);
}

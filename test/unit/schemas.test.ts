import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../orchestrator/cli/commands.ts';
import { SCHEMAS } from '../../orchestrator/cli/schemas.ts';
import { failure } from '../../orchestrator/errors/failure.ts';
import { schemaProblems } from '../support/schemas/validate.ts';
import { SCHEMAS_FILE, schemasText } from '../support/schemas/write.ts';

describe('the schemas of what --json prints', () => {
  it('are those of the types', () => {
    expect(readFileSync(SCHEMAS_FILE, 'utf8') === schemasText(), 'stale: run `npm run docs`').toBe(true);
  }, 120_000);

  it('are there for every command, and no other', () => {
    const { properties } = SCHEMAS as { properties: object };
    expect(Object.keys(properties).toSorted()).toEqual(COMMANDS.map((c) => c.name).toSorted());
  });

  it.each(COMMANDS.map((c) => c.name))('%s may fail, in the form of all failures', (name) => {
    const error = failure('CONFIG_INVALID').toDocument();
    expect(schemaProblems(name, { error })).toEqual([]);
    expect(schemaProblems(name, { error: { ...error, code: 'OOPS' } })).not.toEqual([]);
  });

  it('a member too many, too few or of another type would be found', () => {
    const paused = { paused: true, phase: 'copying' };
    expect(schemaProblems('pause', paused)).toEqual([]);
    expect(schemaProblems('pause', { ...paused, since: 1 })).not.toEqual([]);
    expect(schemaProblems('pause', { paused: true })).not.toEqual([]);
    expect(schemaProblems('pause', { ...paused, phase: 'copied' })).not.toEqual([]);
    expect(schemaProblems('verify', paused)).not.toEqual([]);
  });
});

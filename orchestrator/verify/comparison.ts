import type pg from 'pg';
import type { Relations } from '../../src/mapping/sql.ts';
import type { Side } from '../pg/side.ts';
import { type Exceptions, ownValues } from './exceptions.ts';
import type { Hash } from './hash.ts';
import type { Reading } from './image.ts';
import { type Scope, scopeValues } from './scope.ts';

/** What a comparison is about; the same for all its scopes. */
export interface Comparison {
  readonly relations: Relations;
  readonly hash: Hash;
  readonly serving: Side;
  /** `whole` only before the first decision. */
  readonly reading: Reading;
}

/** Three sessions; `control` reads green's control schema and may be the same one as `green`. */
export interface Readers {
  readonly blue: pg.ClientBase;
  readonly green: pg.ClientBase;
  readonly control: pg.ClientBase;
}

/** How a comparison reads green and whether it looks at constants (DESIGN 8: only where we wrote them). */
export function comparison(relations: Relations, hash: Hash, serving: Side, generation: bigint): Comparison {
  return { relations, hash, serving, reading: generation === 0n ? 'whole' : 'own' };
}

/** Parameters of green's statements for a scope. */
export function greenValues(c: Comparison, e: Exceptions, scope: Scope): unknown[] {
  return c.reading === 'whole' ? scopeValues(scope) : [...ownValues(e), ...scopeValues(scope)];
}

/** Whether the constants of the mapping are compared at all. */
export const comparesConstants = (c: Comparison): boolean => c.serving === 'blue';

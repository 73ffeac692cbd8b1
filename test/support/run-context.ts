/** A Context as the runner would hand it to a phase, without a runner. */

import { silent } from '../../orchestrator/log/log.ts';
import { noMetrics } from '../../orchestrator/metrics/metrics.ts';
import { parseEndpoint } from '../../orchestrator/pg/endpoint.ts';
import type { Claim } from '../../orchestrator/state/claim.ts';
import type { Context } from '../../orchestrator/state/context.ts';
import { namesOf, relationsOf } from '../../orchestrator/state/names.ts';
import type { Pair } from './databases.ts';

/** The schemas of every test database. */
export const SCHEMAS = { source: 'public', org: 'public' } as const;

/** What is asked of a pair, so that a test can point a side somewhere else. */
export type Urls = { readonly [S in 'blue' | 'green']: { readonly urls: { readonly sync: string } } };

/** A context whose claim is epoch 0, generation 0 until the test says otherwise. */
export interface TestContext extends Context {
  /** Every journal entry of `ctx.journal`, in order. */
  readonly entries: { readonly event: string; readonly detail: Readonly<Record<string, unknown>> }[];
  setClaim(change: Partial<Claim>): void;
}

/** @returns a context for the sync role on both sides of a pair. */
export function runContext(pair: Pair | Urls, migration = 'test-run'): TestContext {
  let claim: Claim = { migration, epoch: 0n, generation: 0n };
  const entries: { event: string; detail: Readonly<Record<string, unknown>> }[] = [];
  return {
    names: namesOf(migration),
    schemas: SCHEMAS,
    relations: relationsOf(SCHEMAS),
    endpoints: {
      blue: parseEndpoint('blue', pair.blue.urls.sync),
      green: parseEndpoint('green', pair.green.urls.sync),
    },
    log: silent,
    metrics: noMetrics,
    claim: () => claim,
    signal: new AbortController().signal,
    entries,
    journal: async (event, detail) => {
      entries.push({ event, detail });
    },
    setClaim: (change) => {
      claim = { ...claim, ...change };
    },
  };
}

import type { Relations } from '../../src/mapping/sql.ts';
import type { Log } from '../log/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import type { Side } from '../pg/side.ts';
import type { Claim } from './claim.ts';
import type { Names, Schemas } from './names.ts';

/** What every part of a run is handed: where, under which names, with which right to write. */
export interface Context {
  readonly names: Names;
  readonly schemas: Schemas;
  readonly relations: Relations;
  readonly endpoints: Readonly<Record<Side, Endpoint>>;
  readonly log: Log;
  readonly metrics: Metrics;
  /** The runner's right to write, as of now: the epoch of its lease and the current generation. */
  claim(): Claim;
  /** Aborted when the lease is lost or the runner is told to end; long work ends on it. */
  readonly signal: AbortSignal;
  /** Appends to the journal on green, outside any transaction of the caller's. */
  journal(event: string, detail: Readonly<Record<string, unknown>>): Promise<void>;
}

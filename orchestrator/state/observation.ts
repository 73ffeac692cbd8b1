import type { ClientBase } from 'pg';
import type { Side } from '../pg/side.ts';
import type { GateDocument } from './documents.ts';

/** What only the runner knows, left on green for `status`; null is unknown. */
export interface ObservationBody {
  readonly lag_seconds: number | null;
  readonly lag_bytes: number | null;
  readonly connected: boolean | null;
  readonly errors: number | null;
  readonly delta_keys: number | null;
  readonly delta_lost: boolean | null;
  readonly changes_per_second: number | null;
  readonly gates: readonly GateDocument[];
  readonly predicted_seconds: number | null;
  readonly budget_seconds: number | null;
  readonly paused: boolean;
  /** The same question through each side's schema; see `verify/probe.ts`. */
  readonly query_seconds?: Readonly<Record<Side, number | null>>;
}

/** An observation that is older says nothing about now. */
const FRESH_SECONDS = 10;

/** @returns the runner's newest observation, or null when there is none that is fresh. */
export async function readObservation(green: ClientBase, migration: string): Promise<ObservationBody | null> {
  const { rows } = await green.query<{ body: ObservationBody }>(
    `SELECT body FROM orchestrator.observation
     WHERE migration = $1 AND at > clock_timestamp() - make_interval(secs => $2)`,
    [migration, FRESH_SECONDS],
  );
  return rows[0]?.body ?? null;
}

import type { ErrorDocument } from '../errors/failure.ts';
import type { Side } from '../pg/side.ts';
import type { GateDocument, GuideFigures, HandoverDocument, StepDocument } from '../state/documents.ts';
import type { Difference } from './comparison/difference.ts';

/**
 * What a rehearsal found (OPERATIONS 6): `report.json`, the document of `rehearse --json`, and what every other form
 * of the report is made from. Times in the names' units; what is not known is null, never 0.
 */
export interface RehearsalReport {
  readonly verdict: 'passed' | 'failed';
  readonly exit: number;
  /** What was promised and did not hold; empty when it passed. */
  readonly failures: readonly Failure[];
  readonly started_at: string;
  readonly seconds: number;
  readonly program: { readonly version: string; readonly node: string };
  readonly machine: { readonly cpus: number; readonly memory_bytes: number; readonly platform: string };
  /** PostgreSQL versions; null where a server was not reached. */
  readonly servers: { readonly blue: string | null; readonly green: string | null };
  readonly configuration: Configuration;
  readonly rows: RowsFact | null;
  readonly copy: CopyFact | null;
  readonly workload: WorkloadFact | null;
  readonly handovers: readonly HandoverFact[];
  readonly checks: readonly CheckFact[];
  /** What `status` said of the guide's figures before finalize, both sides with everything on them. */
  readonly guide: GuideFigures | null;
  readonly finalize: FinalizeFact | null;
  /** Every alert of the rules, judged by the runner's own metrics; empty where no runner was reached. */
  readonly alerts: readonly AlertFact[];
  /** On given databases: whether both are what they were before; null on servers of the rehearsal's own. */
  readonly restored: RestoredFact | null;
  /** Every round of the whole journey, the last one included, which the rest of the report is about. */
  readonly iterations: readonly IterationFact[];
  /** How often the serving side changed, judged by acknowledged writes alone, and how often it was to (I4). */
  readonly serving_changes: { readonly proved: number; readonly handovers: number } | null;
  readonly stages: readonly StageFact[];
  readonly lag: readonly LagSample[];
  /** What the clients felt over the whole rehearsal; null when no write was acknowledged. */
  readonly chart: ChartFact | null;
  /** To be signed by a person. */
  readonly checklist: readonly { readonly item: string; readonly ok: boolean }[];
  readonly report_directory: string | null;
  readonly error?: ErrorDocument;
}

export interface Failure {
  readonly stage: string;
  readonly expected: string;
  readonly found: string;
}

export interface Configuration {
  /** The first 16 hex digits of the SHA-256 of the other members. */
  readonly hash: string;
  readonly migration: string;
  readonly users: number;
  readonly rate_per_second: number;
  readonly soak_seconds: number;
  readonly seed: string;
  readonly freeze_budget_seconds: number;
  readonly max_lag_bytes: number;
  readonly max_sweep_age_seconds: number;
  readonly accept_parked: number | 'all';
  readonly copy_workers: number;
  readonly compat_view: boolean;
}

export interface RowsFact {
  /** Rows of `user_settings` when the run began. */
  readonly users: number;
  readonly generate_seconds: number;
}

export interface CopyFact {
  /** From the start of `orchestrate run` to `syncing`. */
  readonly seconds: number;
  /** From the start of `orchestrate run` to the first clean sweep. */
  readonly until_proved_seconds: number;
  readonly rows_per_second: number;
  /** Each phase of the run from the journal, in its order. */
  readonly phases: readonly { readonly phase: string; readonly seconds: number }[];
  /** The same work with more rows, in proportion: a first guess, not a promise. */
  readonly projection: readonly { readonly rows: number; readonly seconds: number }[];
  readonly parked: number;
}

export interface WorkloadFact {
  readonly clients: number;
  readonly offered: number;
  readonly acknowledged: number;
  /** Tries that were refused and made again. */
  readonly refused: number;
  readonly abandoned: number;
  readonly unknown: number;
  /** Due writes that found no free client. */
  readonly shed: number;
  readonly sign_ups: number;
  /** Refused tries by SQLSTATE, or by the driver's word. */
  readonly refused_by_code: Readonly<Record<string, number>>;
  readonly latency_ms: Latency | null;
}

export interface Latency {
  readonly count: number;
  readonly min: number;
  readonly p50: number;
  readonly p95: number;
  readonly max: number;
}

export interface HandoverFact {
  /** Such as `cutover 1`. */
  readonly name: string;
  readonly kind: 'cutover' | 'revert';
  readonly outcome: HandoverDocument['outcome'] | 'failed';
  readonly exit: number;
  readonly serving: Side | null;
  /** The freeze as the program measured it. */
  readonly freeze_seconds: number | null;
  readonly budget_seconds: number;
  readonly felt: FeltFact | null;
  /** Writes offered a second: the soak before, the handover itself, the soak after. */
  readonly offered_per_second: {
    readonly before: number | null;
    readonly during: number | null;
    readonly after: number | null;
  };
  readonly steps: readonly StepDocument[];
  readonly gates: readonly GateDocument[];
}

/** The freeze on the clients' side of the wire. */
export interface FeltFact {
  /** The longest time in which no client had a write acknowledged. */
  readonly longest_gap_ms: number;
  /** The longest that one write took, from its first try to its acknowledgement. */
  readonly longest_wait_ms: number;
  /** Writes that waited across the gap, and how long they took. */
  readonly waiting: number;
  readonly waiting_ms: Latency | null;
  /** All writes acknowledged during the handover. */
  readonly latency_ms: Latency | null;
}

/** What was proved after a stage, with the writers at rest. */
export interface CheckFact {
  /** The stage it was made after, such as `cutover 1`. */
  readonly after: string;
  readonly serving: Side;
  readonly acknowledged: number;
  readonly lost: number;
  readonly facts_looked_up: number;
  /** The comparison of both sides; null where there is no standby any more. */
  readonly compared: {
    readonly blue_rows: number;
    readonly mapped: number;
    readonly parked: number;
    readonly differences: number;
  } | null;
  /** The first few of what was lost or differs: names only, never values. */
  readonly examples: readonly Difference[];
  /** How long the writers stood still for it. */
  readonly quiet_seconds: number;
}

export interface FinalizeFact {
  readonly outcome: string;
  readonly exit: number;
  readonly run_exit: number | null;
  /** What is still there by the program's own word. */
  readonly left: readonly string[];
  /** What this rehearsal itself still found in the catalogs of both sides and that should not be there. */
  readonly residue: readonly string[];
  readonly blue_refuses_writes: boolean;
}

/** What catalogs, sequences and rows of both databases said after the rehearsal, against what they had said before. */
export interface RestoredFact {
  readonly identical: boolean;
  /** What is new or lost, by name and digest, never by value. */
  readonly left: readonly string[];
  /** Tables of others whose rows the sync role may not read: only their definitions were held against each other. */
  readonly unread: readonly string[];
}

export interface AlertFact {
  readonly alert: string;
  /** How long its condition has to hold before it fires. */
  readonly for_seconds: number;
  /** The longest time it did; null: never. */
  readonly held_seconds: number | null;
  readonly fired: boolean;
}

export interface IterationFact {
  readonly iteration: number;
  readonly verdict: 'passed' | 'failed';
  readonly seconds: number;
  readonly copy_seconds: number | null;
  /** Of each handover, as clients felt it. */
  readonly longest_gap_ms: readonly number[];
  readonly lost: number;
  readonly differences: number;
  /** null on servers of its own, which go as a whole. */
  readonly restored: boolean | null;
}

export interface StageFact {
  readonly stage: string;
  readonly seconds: number;
  readonly note: string;
}

/** Acknowledged writes in buckets of time, and where no client had one. Times from the rehearsal's beginning. */
export interface ChartFact {
  readonly interval_seconds: number;
  readonly points: readonly {
    readonly at_seconds: number;
    readonly acknowledged: number;
    readonly p50_ms: number | null;
    readonly p95_ms: number | null;
    readonly max_ms: number | null;
  }[];
  readonly freezes: readonly {
    readonly name: string;
    readonly from_seconds: number;
    readonly to_seconds: number;
  }[];
}

/** How far the standby's stored position was behind, sampled while the rehearsal ran. */
export interface LagSample {
  readonly at_seconds: number;
  readonly bytes: number;
  readonly serving: Side;
}

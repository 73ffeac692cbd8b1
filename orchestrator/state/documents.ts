import type { ErrorDocument } from '../errors/failure.ts';
import type { LockWait } from '../pg/lock-waits.ts';
import type { Direction, HandoverKind, Side } from '../pg/side.ts';
import type { Phase } from './state.ts';

/**
 * What the commands print with `--json` (OPERATIONS 5): part of the interface that scripts rely on (DESIGN 10).
 * Times are ISO 8601 in UTC, LSNs are `X/Y`, durations are seconds; what is not known is null, never 0.
 */
export type { ErrorDocument } from '../errors/failure.ts';

/** What stdout carries when a command failed and has nothing else to say. */
export interface FailureDocument {
  readonly error: ErrorDocument;
}

/** Gates in the order in which they are judged and shown (DESIGN 7, step 1). */
export const GATES = [
  'lag',
  'errors',
  'sweep',
  'delta',
  'slot',
  'catalog',
  'fence',
  'reverse',
  'canary',
  'sequences',
  'transactions',
  'vacuum',
  'parked',
  'budget',
  'freeze',
] as const;
export type GateName = (typeof GATES)[number] | 'rehearsed';

export interface GateDocument {
  readonly name: GateName;
  /** null: not judged, because what it looks at could not be read. */
  readonly passed: boolean | null;
  /** Expected and found in one line. */
  readonly detail: string;
}

/** Steps of a handover, in order, by the words of DESIGN 7. */
export const STEPS = [
  'gates',
  'pause',
  'freeze',
  'drain',
  'verify',
  'stop',
  'arm',
  'decide',
  'open',
  'switch',
  'reverse',
] as const;
export type StepName = (typeof STEPS)[number];

export interface StepDocument {
  readonly step: StepName;
  readonly seconds: number;
  readonly ok: boolean;
  /** What the line on the terminal adds, e.g. `to 0/5A3F1D8` or `frozen 14:02:07.114`. */
  readonly note?: string;
}

/** The journal's event for a finished step of a handover; its detail is a StepDocument. */
export const STEP_EVENT = 'handover-step';

export interface CopyDocument {
  readonly rows_done: number | null;
  readonly rows_expected: number | null;
  /** When the copy is expected to end. */
  readonly eta: string | null;
}

export interface LagDocument {
  readonly seconds: number | null;
  readonly bytes: number | null;
  readonly changes_per_second?: number | null;
  readonly errors?: number | null;
}

export interface SlotDocument {
  readonly name: string | null;
  readonly wal_status: string | null;
  readonly retained_bytes: number | null;
  /** Headroom until the server gives the slot up; null when it is unlimited or unknown. */
  readonly safe_bytes?: number | null;
}

export interface StatusDocument {
  readonly migration: string;
  /** null: it cannot be reached where it is kept, on green. */
  readonly phase: Phase | null;
  /** When this phase began. */
  readonly since?: string | null;
  readonly generation: number | null;
  /** The error that stopped the runner, until the next run has rechecked it. */
  readonly stopped: ErrorDocument | null;
  readonly unreachable: readonly Side[];
  readonly serving: Side | null;
  readonly standby: Side | null;
  readonly direction: Direction | null;
  /** The side that clients are still led to after a handover: the traffic driver failed, and is tried again. */
  readonly unmoved?: Side | null;
  readonly copy: CopyDocument;
  readonly lag: LagDocument;
  readonly slot: SlotDocument;
  readonly verify: {
    /** When the last clean sweep ended. */
    readonly last_success: string | null;
    readonly mismatched: number | null;
    readonly delta_keys: number | null;
    readonly parked: number | null;
    readonly rows_compared?: number | null;
  };
  readonly freeze?: {
    readonly predicted_seconds: number | null;
    readonly budget_seconds: number | null;
    readonly last_rehearsal_seconds: number | null;
  };
  readonly gates: readonly GateDocument[];
  /** Sessions that wait for a lock because of us, or for one of the application's tables. */
  readonly lock_waits?: readonly LockWait[];
  /** null before anything was started. */
  readonly guide?: GuideFigures | null;
  /** Commands, complete, as they would be typed. */
  readonly next_steps: readonly string[];
}

/** What the migration guide asks to be watched; null is unknown. */
export interface GuideFigures {
  /** From the first step until both sides were in sync. */
  readonly migration_seconds: number | null;
  readonly database_bytes: Readonly<Record<Side, number | null>>;
  /** One user's settings, read through the schema of each side. */
  readonly query_seconds: Readonly<Record<Side, number | null>>;
  /** Statements of the application that a fence has refused, freezes included. */
  readonly refused_writes: Readonly<Record<Side, number | null>>;
}

/** A difference between the sides: names only, never values. */
export interface MismatchDocument {
  readonly table: string;
  readonly key: string;
  readonly kind: 'missing' | 'extra' | 'different';
  readonly columns: readonly string[];
}

export interface VerifyDocument {
  readonly clean: boolean;
  readonly lsn: string;
  readonly rows_compared: number;
  readonly mismatches: readonly MismatchDocument[];
  readonly mapped: number;
  readonly parked: { readonly null_key: number; readonly empty_key: number; readonly duplicate: number };
  readonly duration_seconds: number;
  /** With `--repair`: how many of the keys above were derived anew from the serving side. */
  readonly repaired?: number;
  readonly error?: ErrorDocument;
}

export type HandoverOutcome = 'done' | 'dry-run' | 'rehearsed' | 'no-go' | 'aborted' | 'unfinished';

/** A fact on green that the old schema cannot express: it stays there (DESIGN 8). */
export interface NotRevertibleDocument {
  /** Such as `organisations without an owner row on blue`. */
  readonly what: string;
  readonly rows: number;
}

export interface HandoverDocument {
  readonly outcome: HandoverOutcome;
  readonly kind?: HandoverKind;
  readonly serving: Side;
  /** How long no writes were accepted; null when no freeze was begun. */
  readonly freeze_seconds: number | null;
  readonly budget_seconds: number;
  readonly predicted_seconds?: number | null;
  /** Of a dry run: what each step in which writes stand still will take. */
  readonly predicted_steps?: readonly { readonly step: StepName; readonly seconds: number }[];
  readonly steps: readonly StepDocument[];
  readonly gates?: readonly GateDocument[];
  readonly not_revertible?: readonly NotRevertibleDocument[];
  readonly certificate: Readonly<Record<string, unknown>> | null;
  readonly next_steps: readonly string[];
  readonly error?: ErrorDocument;
}

/** What `abort` and `finalize` end with. */
export interface EndDocument {
  readonly outcome: 'done' | 'no-go' | 'unfinished';
  readonly phase: Phase;
  readonly serving: Side;
  /** What is still there: on purpose after finalize, not reached yet after an unfinished abort. */
  readonly left: readonly string[];
  readonly certificate?: Readonly<Record<string, unknown>> | null;
  readonly next_steps: readonly string[];
  readonly error?: ErrorDocument;
}

/** What `pause` and `resume` end with. */
export interface PauseDocument {
  readonly paused: boolean;
  readonly phase: Phase;
  readonly error?: ErrorDocument;
}

export interface FindingDocument {
  readonly check: string;
  readonly side: Side | null;
  /** `stop` is a no-go; `warn` is worth reading. */
  readonly severity: 'stop' | 'warn';
  readonly expected: string;
  readonly found: string;
  readonly fix: string;
}

export interface PreflightDocument {
  readonly ok: boolean;
  readonly findings: readonly FindingDocument[];
  readonly error?: ErrorDocument;
}

/** A line of the journal, as `events` prints it; bigints travel as text. */
export interface JournalEntry {
  readonly id: string;
  readonly at: string;
  readonly epoch: string;
  readonly generation: string;
  readonly event: string;
  readonly detail: Readonly<Record<string, unknown>>;
  readonly by: Readonly<Record<string, unknown>>;
}

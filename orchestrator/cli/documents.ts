import type { GuideDocument } from '../phases/guide-check.ts';
import type { EstimateDocument } from '../phases/migrate/estimate.ts';
import type { MigrateDocument } from '../phases/migrate.ts';
import type { RehearsalReport } from '../rehearsal/report.ts';
import type { PlanDocument } from '../runner/plan.ts';
import type {
  EndDocument,
  ErrorDocument,
  FailureDocument,
  HandoverDocument,
  JournalEntry,
  PauseDocument,
  PreflightDocument,
  StatusDocument,
  VerifyDocument,
} from '../state/documents.ts';
import type { ChainDocument } from '../state/journal-chain.ts';
import type { ConfigDocument } from './config.ts';
import type { GrantsDocument } from './grants.ts';

/** What `run` ends with. */
export interface RunDocument {
  readonly migration: string;
  readonly outcome: 'done';
}

/** What `worker` ends with. */
export interface WorkerDocument extends RunDocument {
  readonly chunks: number;
  readonly rows: number;
  readonly bytes: number;
}

/** The whole journal; with `--follow` each line is one entry. */
export interface EventsDocument {
  readonly events: readonly JournalEntry[];
}

/** What `events --verify` ends with. */
export interface ChainReport extends ChainDocument {
  readonly error?: ErrorDocument;
}

export interface VersionDocument {
  readonly version: string;
  readonly node: string;
}

export interface CompletionDocument {
  readonly shell: 'bash' | 'zsh' | 'fish';
  readonly script: string;
}

/**
 * What stdout carries with `--json`, command by command: the schemas of schemas.ts are made from these types
 * (`npm run docs`) and printed by `orchestrate config show --json-schema`.
 */
export interface CommandDocuments {
  readonly preflight: PreflightDocument | FailureDocument;
  readonly plan: PlanDocument | EstimateDocument | FailureDocument;
  readonly run: RunDocument | FailureDocument;
  readonly worker: WorkerDocument | FailureDocument;
  readonly status: StatusDocument | FailureDocument;
  readonly events: EventsDocument | JournalEntry | ChainReport | FailureDocument;
  readonly verify: VerifyDocument | GuideDocument | FailureDocument;
  readonly cutover: HandoverDocument | FailureDocument;
  readonly revert: HandoverDocument | FailureDocument;
  readonly abort: EndDocument | FailureDocument;
  readonly finalize: EndDocument | FailureDocument;
  readonly pause: PauseDocument | FailureDocument;
  readonly resume: PauseDocument | FailureDocument;
  readonly migrate: MigrateDocument | FailureDocument;
  readonly grants: GrantsDocument | FailureDocument;
  readonly rehearse: RehearsalReport | FailureDocument;
  readonly version: VersionDocument | FailureDocument;
  readonly config: ConfigDocument | FailureDocument;
  readonly completion: CompletionDocument | FailureDocument;
}

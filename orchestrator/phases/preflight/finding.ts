import type { Side } from '../../pg/side.ts';
import type { FindingDocument } from '../../state/documents.ts';

/** Something preflight found: what it expected, what is there, and the command that mends it. */
export type Finding = FindingDocument;

/** What every check is handed about a side before it runs. */
export interface SideFacts {
  readonly side: Side;
  /** `server_version_num`, e.g. 150018. */
  readonly version: number;
  readonly inRecovery: boolean;
  /** The login that runs the migration: the sync role. */
  readonly login: string;
  /** Whether this session is another login's, which only looks. */
  readonly ofAnother: boolean;
  readonly database: string;
}

interface Words {
  readonly expected: string;
  readonly found: string;
  /** The command to run, with names filled in. */
  readonly fix: string;
}

/** @returns a no-go. */
export function stop(check: string, side: Side | null, words: Words): Finding {
  return { check, side, severity: 'stop', ...words };
}

/** @returns something worth reading that does not stop a run. */
export function warn(check: string, side: Side | null, words: Words): Finding {
  return { check, side, severity: 'warn', ...words };
}

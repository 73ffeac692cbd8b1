import { CATALOGUE, type CatalogueEntry, type ErrorCode } from './catalogue.ts';

/** What an error says beyond its catalogue entry. Row values and secrets have no place in any of it. */
export interface FailureDetail {
  readonly message?: string;
  readonly expected?: string;
  readonly found?: string;
  readonly fix?: string;
  readonly serving?: 'blue' | 'green' | undefined;
  readonly cause?: unknown;
}

/** The JSON form of an error (OPERATIONS 5). */
export interface ErrorDocument {
  readonly code: ErrorCode;
  readonly message: string;
  readonly serving: 'blue' | 'green' | null;
  readonly expected: string | null;
  readonly found: string | null;
  readonly fix: string;
  readonly runbook: string;
}

/** An error of the catalogue, with what was expected and found. */
export class OrchestrateError extends Error {
  override readonly name = 'OrchestrateError';
  readonly code: ErrorCode;
  readonly detail: FailureDetail;

  constructor(code: ErrorCode, detail: FailureDetail) {
    super(
      detail.message ?? CATALOGUE[code].meaning,
      detail.cause === undefined ? {} : { cause: detail.cause },
    );
    this.code = code;
    this.detail = detail;
  }

  get entry(): CatalogueEntry {
    return CATALOGUE[this.code];
  }

  /** @param serving which side serves, where the thrower did not know it. */
  toDocument(serving?: 'blue' | 'green'): ErrorDocument {
    return {
      code: this.code,
      message: this.message,
      serving: this.detail.serving ?? serving ?? null,
      expected: this.detail.expected ?? null,
      found: this.detail.found ?? null,
      fix: this.detail.fix ?? this.entry.fix,
      runbook: `README.md#${this.code.toLowerCase().replaceAll('_', '-')}`,
    };
  }
}

/** @returns an error of the catalogue, to be thrown. */
export function failure(code: ErrorCode, detail: FailureDetail = {}): OrchestrateError {
  return new OrchestrateError(code, detail);
}

/** @returns whether `error` is one of ours with that code. */
export function hasCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof OrchestrateError && error.code === code;
}

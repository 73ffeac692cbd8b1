/** What a batch met, before it is told. */
export interface Faulty {
  readonly id: number | null;
  readonly error: unknown;
}

/**
 * A batch of the in-place move that the server refused. Everything before it is kept; `up` goes on with it. Names the
 * row by its id, and what refused it; never a value: a server's message may quote one.
 */
export class BatchFailed extends Error {
  override readonly name = 'BatchFailed';
  readonly batch: number;
  /** The id in user_settings; null when no single row could be blamed. */
  readonly rowId: number | null;
  readonly state: string;
  /** The constraint, column or table that refused it, where the server named one. */
  readonly on: string | null;

  constructor(batch: number, rowId: number | null, error: unknown) {
    const named = error as { constraint?: string; column?: string; table?: string };
    super(`batch ${batch} of 057 failed`, { cause: error });
    this.batch = batch;
    this.rowId = rowId;
    this.state = sqlStateOf(error) ?? 'unknown';
    this.on = named.constraint ?? named.column ?? named.table ?? null;
  }
}

/** @returns the SQLSTATE of an error that the server sent. */
export function sqlStateOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

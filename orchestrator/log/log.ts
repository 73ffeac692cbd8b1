/** How far long work is; null is unknown. */
export interface Progress {
  /** A verb in its -ing form, for example `copying`. */
  readonly work: string;
  readonly rowsDone: number;
  readonly rowsExpected: number | null;
  readonly bytes: number;
  /** Rows a second. */
  readonly rate: number | null;
  readonly etaSeconds: number | null;
}

/** Structured log on stderr. Fields are facts (LSNs, counts, codes), never row values, URLs or passwords. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /**
   * Shows how far the work is below the last line, in place of what it showed before; null takes it away. There is none
   * where nobody watches a terminal: then the same facts are lines of the log.
   */
  readonly progress?: ((state: Progress | null) => void) | undefined;
}

/** A log that says nothing; for tests and for commands that only read. */
export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

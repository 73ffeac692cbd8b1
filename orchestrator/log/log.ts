/** Structured log on stderr. Fields are facts (LSNs, counts, codes), never row values, URLs or passwords. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A log that says nothing; for tests and for commands that only read. */
export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

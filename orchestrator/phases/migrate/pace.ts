interface Batch {
  readonly rowsRead: number;
  readonly rowsExpected: number;
}

const EVERY_MS = 1_000;

/** Says how far the batches are, how fast, and when they will be through; at most once a second, and at the end. */
export class Pace {
  private readonly note: (line: string) => void;
  private readonly now: () => number;
  private first: { at: number; rows: number } | undefined;
  private lastAt = Number.NEGATIVE_INFINITY;

  constructor(note: (line: string) => void, now: () => number = () => performance.now()) {
    this.note = note;
    this.now = now;
    this.first = undefined;
  }

  passed({ rowsRead, rowsExpected }: Batch): void {
    const at = this.now();
    this.first ??= { at, rows: rowsRead };
    const done = rowsRead >= rowsExpected;
    if (!done && at - this.lastAt < EVERY_MS) return;
    this.lastAt = at;
    const seconds = (at - this.first.at) / 1_000;
    // Of the first batch nobody knows when it began: an earlier attempt may have read rows too.
    const rate = seconds > 0 ? (rowsRead - this.first.rows) / seconds : undefined;
    const percent = rowsExpected === 0 ? 100 : Math.min(100, Math.floor((rowsRead / rowsExpected) * 100));
    this.note(
      [
        `057: ${rowsRead} of ${rowsExpected} rows (${percent} %)`,
        ...(rate === undefined ? [] : [`${Math.round(rate)} rows/s`]),
        ...(rate === undefined || rate === 0 || done
          ? []
          : [`${Math.max(1, Math.ceil((rowsExpected - rowsRead) / rate))} s left`]),
      ].join(', '),
    );
  }
}

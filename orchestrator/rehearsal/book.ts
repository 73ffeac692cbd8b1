import type {
  AlertFact,
  ChartFact,
  CheckFact,
  CopyFact,
  Failure,
  FinalizeFact,
  HandoverFact,
  LagSample,
  RehearsalReport,
  RestoredFact,
  RowsFact,
  StageFact,
} from './report.ts';

/** Where the person who watches is told what happens. */
export interface Telling {
  /** One line, for good. */
  readonly note: (line: string) => void;
  /** The transient last line of a terminal; absent where there is none. */
  readonly live?: ((line: string) => void) | undefined;
}

/** Everything a rehearsal has found so far; the report is made from it, whichever way the rehearsal ends. */
export class Book {
  readonly #telling: Telling;
  readonly failures: Failure[] = [];
  readonly stages: StageFact[] = [];
  readonly handovers: HandoverFact[] = [];
  readonly checks: CheckFact[] = [];
  servers: RehearsalReport['servers'] = { blue: null, green: null };
  version = 'unknown';
  rows: RowsFact | null = null;
  copy: CopyFact | null = null;
  workload: RehearsalReport['workload'] = null;
  lag: readonly LagSample[] = [];
  chart: ChartFact | null = null;
  guide: RehearsalReport['guide'] = null;
  finalize: FinalizeFact | null = null;
  alerts: readonly AlertFact[] = [];
  restored: RestoredFact | null = null;
  servingChanges: RehearsalReport['serving_changes'] = null;

  constructor(telling: Telling) {
    this.#telling = telling;
  }

  /** Does a stage, times it, and tells how it ended. */
  async stage<T>(stage: string, work: () => Promise<T>, note: (result: T) => string): Promise<T> {
    const began = performance.now();
    const failed = this.failures.length;
    this.live(`${stage} …`);
    let ended: string | undefined;
    try {
      const result = await work();
      ended = note(result);
      return result;
    } finally {
      const seconds = (performance.now() - began) / 1_000;
      const ok = ended !== undefined && this.failures.length === failed;
      if (ended !== undefined) this.stages.push({ stage, seconds, note: ended });
      this.#telling.live?.('');
      this.#telling.note(
        ` ${ok ? '✓' : '✗'} ${stage.padEnd(18)} ${seconds.toFixed(1).padStart(6)} s  ${ended ?? 'stopped'}`,
      );
    }
  }

  /** What is going on inside the stage at hand. */
  live(line: string): void {
    this.#telling.live?.(line);
  }

  /** Writes down what was promised and did not hold. */
  fail(stage: string, expected: string, found: string): void {
    this.failures.push({ stage, expected, found });
    this.#telling.live?.('');
    this.#telling.note(`   ! ${stage}: expected ${expected}, found ${found}`);
  }
}

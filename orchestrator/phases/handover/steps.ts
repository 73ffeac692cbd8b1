import { performance } from 'node:perf_hooks';
import { failpoint } from '../../errors/failpoint.ts';
import type { StepDocument, StepName } from '../../state/documents.ts';

/** Times the steps of one handover and tells each as it ends. */
export class Steps {
  readonly done: StepDocument[] = [];
  /** When each step began, on the monotonic clock in ms. */
  readonly begun = new Map<StepName, number>();
  private readonly tell: (record: StepDocument) => void;

  constructor(tell: (record: StepDocument) => void) {
    this.tell = tell;
  }

  /**
   * Runs one step between its two failpoints. `note` may say a fact worth printing about the result, `good` whether it is
   * what was hoped for: gates that are closed have been judged all the same.
   */
  async run<T>(
    step: StepName,
    work: () => Promise<T>,
    note?: (result: T) => string,
    good: (result: T) => boolean = () => true,
  ): Promise<T> {
    const start = performance.now();
    this.begun.set(step, start);
    const record = (ok: boolean, text?: string): void => {
      const entry: StepDocument = {
        step,
        seconds: (performance.now() - start) / 1000,
        ok,
        ...(text === undefined ? {} : { note: text }),
      };
      this.done.push(entry);
      this.tell(entry);
    };
    try {
      await failpoint(`${step}.before`);
      const result = await work();
      await failpoint(`${step}.after`);
      record(good(result), note?.(result));
      return result;
    } catch (error) {
      record(false);
      throw error;
    }
  }
}

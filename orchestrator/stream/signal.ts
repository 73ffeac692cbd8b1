/** Wakes the one loop that sleeps on it. A call while nobody sleeps is remembered. */
export class Signal {
  #raised = false;
  #wake: (() => void) | undefined;

  raise(): void {
    this.#raised = true;
    this.#wake?.();
  }

  /** Resolves at the next `raise`, at once if there was one since the last sleep, or after `timeoutMs`. */
  async sleep(timeoutMs: number): Promise<void> {
    if (!this.#raised) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, timeoutMs);
      });
      clearTimeout(timer);
      this.#wake = undefined;
    }
    this.#raised = false;
  }
}

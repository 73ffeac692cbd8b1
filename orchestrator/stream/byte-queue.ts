/** How many taken entries are cut off at a time. */
const CUT = 16_384;

/**
 * A queue of messages as they came, in the buffers the socket filled: a backlog of decoded rows would be copied by
 * every collection of garbage, and takes several times the room. Nothing is copied; a buffer goes when the last
 * message in it, and the last row made of one, has gone.
 */
export class ByteQueue {
  // Parallel arrays, one entry a message: its buffer, where it starts and ends there, and when it came.
  #blocks: Buffer[] = [];
  #starts: number[] = [];
  #ends: number[] = [];
  #times: number[] = [];
  #head = 0;
  #bytes = 0;

  /** Adds what stands in `block` between `start` and `end`. @param time whatever the reader wants to know about it. */
  push(block: Buffer, start: number, end: number, time: number): void {
    this.#blocks.push(block);
    this.#starts.push(start);
    this.#ends.push(end);
    this.#times.push(time);
    this.#bytes += end - start;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Messages that wait. */
  get length(): number {
    return this.#blocks.length - this.#head;
  }

  get empty(): boolean {
    return this.length === 0;
  }

  /** The buffer of the message `nth` behind the oldest. */
  block(nth = 0): Buffer | undefined {
    return this.#blocks[this.#head + nth];
  }

  /** Where that message starts in its buffer. */
  start(nth = 0): number {
    return this.#starts[this.#head + nth] ?? 0;
  }

  /** Where it ends. */
  end(nth = 0): number {
    return this.#ends[this.#head + nth] ?? 0;
  }

  get time(): number {
    return this.#times[this.#head] ?? 0;
  }

  /** Drops the oldest message. @returns its size in bytes. */
  take(): number {
    const size = this.end() - this.start();
    this.#head += 1;
    this.#bytes -= size;
    if (this.empty || this.#head >= CUT) {
      for (const entries of [this.#blocks, this.#starts, this.#ends, this.#times])
        entries.splice(0, this.#head);
      this.#head = 0;
    }
    return size;
  }

  clear(): void {
    for (const entries of [this.#blocks, this.#starts, this.#ends, this.#times]) entries.length = 0;
    this.#head = 0;
    this.#bytes = 0;
  }
}

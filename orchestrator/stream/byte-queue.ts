/** Messages are kept in blocks of this size; a larger message gets a block of its own. */
const BLOCK_BYTES = 256 * 1024;
/** Blocks that wait to be used again. */
const SPARE_BLOCKS = 8;
/** How many taken entries are cut off at a time. */
const CUT = 16_384;

/**
 * A queue of messages as they came, in blocks outside JavaScript's heap: a backlog of decoded rows would be copied by
 * every collection of garbage, and takes several times the room.
 */
export class ByteQueue {
  readonly #spare: Buffer[] = [];
  #block: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #at = 0;
  // Parallel arrays, one entry a message: its block, where it starts and ends there, and when it came.
  #blocks: Buffer[] = [];
  #starts: number[] = [];
  #ends: number[] = [];
  #times: number[] = [];
  #head = 0;
  #bytes = 0;

  /** Copies `source` from `from` on. @param time whatever the reader wants to know about it. */
  push(source: Uint8Array, from: number, time: number): void {
    const size = source.length - from;
    if (this.#at + size > this.#block.length) {
      this.#block = size > BLOCK_BYTES ? Buffer.allocUnsafeSlow(size) : this.#fresh();
      this.#at = 0;
    }
    this.#block.set(from === 0 ? source : source.subarray(from), this.#at);
    this.#blocks.push(this.#block);
    this.#starts.push(this.#at);
    this.#at += size;
    this.#ends.push(this.#at);
    this.#times.push(time);
    this.#bytes += size;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#head === this.#blocks.length;
  }

  /** The block the oldest message is in; valid until it is taken. */
  get block(): Buffer | undefined {
    return this.#blocks[this.#head];
  }

  /** Where the oldest message starts in its block. */
  get start(): number {
    return this.#starts[this.#head] ?? 0;
  }

  get time(): number {
    return this.#times[this.#head] ?? 0;
  }

  /** The newest message's block and start, for a change in place; undefined when nothing waits. */
  get last(): { readonly block: Buffer; readonly start: number } | undefined {
    const last = this.#blocks.length - 1;
    const block = this.#blocks[last];
    return last < this.#head || block === undefined ? undefined : { block, start: this.#starts[last] ?? 0 };
  }

  /** Drops the oldest message. @returns its size in bytes. */
  take(): number {
    const block = this.#blocks[this.#head];
    const size = (this.#ends[this.#head] ?? 0) - this.#start(this.#head);
    this.#head += 1;
    this.#bytes -= size;
    if (block !== undefined && block !== this.#block && this.#blocks[this.#head] !== block)
      this.#retire(block);
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

  #start(entry: number): number {
    return this.#starts[entry] ?? 0;
  }

  #fresh(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
  }

  /** All of its messages are taken. */
  #retire(block: Buffer): void {
    if (block.length === BLOCK_BYTES && this.#spare.length < SPARE_BLOCKS) this.#spare.push(block);
  }
}

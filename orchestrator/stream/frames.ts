/** A message of the server: one byte that says its kind, and four with its length, which they are part of. */
const HEADER_BYTES = 5;
const COPY_DATA = 0x64;

export interface FrameReaders {
  /** The content of a CopyData message, between `start` and `end`; the buffer is never written to again. */
  readonly copyData: (block: Buffer, start: number, end: number) => void;
  /** Any other message, whole: the driver's business. */
  readonly other: (message: Buffer) => void;
}

/**
 * Cuts what a socket brings into the messages of the server (PostgreSQL manual, 53.7), without copying: only a message
 * that lies in several chunks is put together. The driver makes an object and an event of every one, which costs as
 * much as decoding it.
 */
export class Frames {
  readonly #readers: FrameReaders;
  /** Chunks that hold the beginning of one message, and their bytes. */
  #parts: Buffer[] = [];
  #have = 0;
  /** Bytes of that message; 0 while even its header is incomplete. */
  #need = 0;

  constructor(readers: FrameReaders) {
    this.#readers = readers;
  }

  read(chunk: Buffer): void {
    let at = 0;
    if (this.#parts.length > 0) {
      if (this.#need === 0) {
        // Not even the header came: a handful of bytes.
        const joined = Buffer.concat([...this.#parts, chunk]);
        this.#parts = [];
        this.#have = 0;
        this.read(joined);
        return;
      }
      const missing = this.#need - this.#have;
      if (chunk.length < missing) {
        this.#keep(chunk);
        return;
      }
      this.#parts.push(chunk.subarray(0, missing));
      const message = Buffer.concat(this.#parts, this.#need);
      this.#parts = [];
      this.#have = 0;
      this.#need = 0;
      this.#deliver(message, 0, message.length);
      at = missing;
    }
    while (chunk.length - at >= HEADER_BYTES) {
      const size = 1 + chunk.readUInt32BE(at + 1);
      if (chunk.length - at < size) {
        this.#need = size;
        break;
      }
      this.#deliver(chunk, at, at + size);
      at += size;
    }
    if (at < chunk.length) this.#keep(chunk.subarray(at));
  }

  #keep(part: Buffer): void {
    this.#parts.push(part);
    this.#have += part.length;
  }

  #deliver(block: Buffer, start: number, end: number): void {
    if (block[start] === COPY_DATA) this.#readers.copyData(block, start + HEADER_BYTES, end);
    else this.#readers.other(block.subarray(start, end));
  }
}

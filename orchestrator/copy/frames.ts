/** What one read from the source's socket holds, once its messages are told apart. */
export interface Scanned {
  /** CopyData messages, or parts of them, headers included: to be forwarded as they are. */
  readonly data: readonly Buffer[];
  /** Set once the COPY has ended: what follows it, for the driver's own parser. */
  readonly rest: Buffer | undefined;
  /** Whether the end was CopyDone, and not an error. */
  readonly done: boolean;
}

const COPY_DATA = 0x64; // d
const COPY_DONE = 0x63; // c
/** CopyOutResponse, and what a server may send at any time: notice, parameter status, notification. */
const PASSED_OVER = new Set([0x48, 0x4e, 0x53, 0x41]);
/** One byte of type, four of length; the length counts itself but not the type. */
const HEADER_BYTES = 5;

/** Ends a COPY … FROM STDIN. */
export const COPY_DONE_MESSAGE = Buffer.from([COPY_DONE, 0, 0, 0, 4]);

/**
 * Tells the messages of a COPY … TO STDOUT apart without touching what is in them.
 *
 * The source frames rows exactly as the target wants them framed (manual, 55.7, CopyData), so only the headers are
 * looked at: a tenth of the work of taking the rows out and framing them anew. Messages may be cut anywhere.
 */
export class CopyFrames {
  private head: Buffer | undefined;
  private remaining = 0;
  private forwarding = false;

  /** @param chunk the next bytes of the socket; not to be called again after `rest` was set. */
  scan(chunk: Buffer): Scanned {
    const bytes = this.head === undefined ? chunk : Buffer.concat([this.head, chunk]);
    this.head = undefined;
    const data: Buffer[] = [];
    let from = 0;
    let at = Math.min(this.remaining, bytes.length);
    this.remaining -= at;
    if (!this.forwarding) from = at;
    const cut = (until: number): void => {
      if (until > from) data.push(bytes.subarray(from, until));
    };
    while (at < bytes.length) {
      if (bytes.length - at < HEADER_BYTES) {
        cut(at);
        this.head = Buffer.from(bytes.subarray(at));
        this.forwarding = false;
        return { data, rest: undefined, done: false };
      }
      const type = bytes[at] as number;
      const end = at + 1 + bytes.readUInt32BE(at + 1);
      this.forwarding = type === COPY_DATA;
      if (!this.forwarding) {
        cut(at);
        if (!PASSED_OVER.has(type)) {
          const done = type === COPY_DONE;
          return { data, rest: bytes.subarray(done ? end : at), done };
        }
        from = end;
      }
      this.remaining = Math.max(0, end - bytes.length);
      at = Math.min(end, bytes.length);
    }
    if (this.forwarding || from < bytes.length) cut(bytes.length);
    if (this.remaining === 0) this.forwarding = false;
    return { data, rest: undefined, done: false };
  }
}

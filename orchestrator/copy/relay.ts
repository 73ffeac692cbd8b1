import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { COPY_DONE_MESSAGE, CopyFrames } from './frames.ts';

/** The part of the driver's connection that a query of one's own works on. */
interface Wire {
  readonly stream: Duplex;
  query(text: string): void;
}

interface CommandComplete {
  readonly text?: string;
}

/**
 * A server sends 8 kB at a time, and to be woken for each of them costs all three processes more than the bytes do. A read
 * that was not full (libuv reads 64 kB) has emptied the socket: the next one waits until there is more. A source that is
 * faster than this fills its reads and is never held back.
 */
const FULL_READ_BYTES = 60_000;
const GATHER_MS = 2;

const COUNT = /^COPY (\d+)/;

/** What both ends of a relay have in common: they end with ReadyForQuery or with the first error. */
abstract class CopyQuery {
  rowCount = 0;
  readonly ended: Promise<void>;
  protected settle!: () => void;
  protected fail!: (error: unknown) => void;
  protected readonly text: string;

  constructor(text: string) {
    this.text = text;
    this.ended = new Promise((resolve, reject) => {
      this.settle = resolve;
      this.fail = reject;
    });
    // The relay looks at both ends together; an end that fails after the other is no surprise.
    this.ended.catch(() => {});
  }

  handleError(error: unknown): void {
    this.fail(error);
  }

  handleCommandComplete(message: CommandComplete): void {
    this.rowCount = Number(COUNT.exec(message.text ?? '')?.[1] ?? 0);
  }

  handleReadyForQuery(): void {
    this.settle();
  }
}

/** COPY … FROM STDIN: `opened` once the server wants rows. */
class CopyIn extends CopyQuery {
  wire: Wire | undefined;
  readonly opened: Promise<void>;
  private open!: () => void;

  constructor(text: string) {
    super(text);
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }

  submit(wire: unknown): void {
    this.wire = wire as Wire;
    this.wire.query(this.text);
  }

  handleCopyInResponse(): void {
    this.open();
  }
}

/** COPY … TO STDOUT: takes the socket away from the driver's parser until the rows have ended. */
class CopyOut extends CopyQuery {
  private readonly frames = new CopyFrames();
  private readonly onData: (data: readonly Buffer[], done: boolean, wire: Wire) => void;

  constructor(text: string, onData: (data: readonly Buffer[], done: boolean, wire: Wire) => void) {
    super(text);
    this.onData = onData;
  }

  submit(connection: unknown): void {
    const wire = connection as Wire;
    const [parser, ...others] = wire.stream.listeners('data') as ((chunk: Buffer) => void)[];
    if (parser === undefined || others.length > 0)
      throw new Error('the driver does not read its socket as this copy expects');
    const read = (chunk: Buffer): void => {
      const { data, rest, done } = this.frames.scan(chunk);
      if (rest !== undefined) {
        wire.stream.removeListener('data', read);
        wire.stream.on('data', parser);
      }
      this.onData(data, done, wire);
      if (rest !== undefined && rest.length > 0) parser(rest);
    };
    wire.stream.removeListener('data', parser);
    wire.stream.on('data', read);
    wire.query(this.text);
  }
}

export interface Relayed {
  readonly rowsOut: number;
  readonly rowsIn: number;
  /** Bytes that went over the wire, framing included. */
  readonly bytes: number;
}

/**
 * Connects a COPY out of one session with a COPY into another: what one server frames as rows the other one reads,
 * untouched. Backpressure goes from socket to socket, so memory stays at a few reads whatever the size of a row.
 *
 * After a failure either session may be in the middle of a COPY: the caller must close both.
 * @param after called with every count of bytes; a promise holds the source back until it resolves.
 */
export async function relayCopy(
  source: pg.Client,
  target: pg.Client,
  statements: { readonly out: string; readonly into: string },
  after: (bytes: number) => Promise<void> | undefined,
  signal: AbortSignal,
): Promise<Relayed> {
  signal.throwIfAborted();
  const into = new CopyIn(statements.into);
  let bytes = 0;
  let stopped = false;
  let stop!: (reason: unknown) => void;
  const interrupted = new Promise<never>((_, reject) => {
    stop = reject;
  });
  interrupted.catch(() => {});
  const onAbort = (): void => stop(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });

  const out = new CopyOut(statements.out, (data, done, wire) => {
    const sink = into.wire?.stream;
    if (stopped || sink === undefined) return;
    let flowing = true;
    let size = 0;
    for (const part of data) {
      size += part.length;
      flowing = sink.write(part);
    }
    bytes += size;
    if (done) {
      sink.write(COPY_DONE_MESSAGE);
      return;
    }
    const wait = size > 0 ? after(size) : undefined;
    const gathered = size < FULL_READ_BYTES ? delay(GATHER_MS) : undefined;
    if (flowing && wait === undefined && gathered === undefined) return;
    wire.stream.pause();
    const drained = flowing ? undefined : new Promise((resolve) => sink.once('drain', resolve));
    Promise.all([wait, drained, gathered]).then(() => wire.stream.resume(), stop);
  });
  try {
    target.query(into);
    await Promise.race([into.opened, into.ended, interrupted]);
    source.query(out);
    await Promise.race([Promise.all([out.ended, into.ended]), interrupted]);
    return { rowsOut: out.rowCount, rowsIn: into.rowCount, bytes };
  } finally {
    stopped = true;
    signal.removeEventListener('abort', onAbort);
  }
}

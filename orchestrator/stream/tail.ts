import type { Socket } from 'node:net';
import type pg from 'pg';
import { LogicalReplicationService, PgoutputPlugin } from 'pg-logical-replication';
import { ident, literal } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import { clientConfig } from '../pg/connect.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import { formatLsn, type Lsn } from '../pg/lsn.ts';
import { Acknowledger } from './acknowledger.ts';
import { type Message, PgoutputDecoder } from './protocol.ts';

/** Everything before it has been sent; it comes only between transactions. */
export interface Keepalive {
  readonly kind: 'keepalive';
  readonly lsn: Lsn;
}

export type Queued = Message | Keepalive;

export interface TailOptions {
  readonly endpoint: Endpoint;
  readonly slot: string;
  readonly publication: string;
  /** Stored position of the destination; stated explicitly, whatever the slot says. */
  readonly start: Lsn;
  /** wal_sender_timeout of the server; 0 is none. */
  readonly senderTimeoutMs: number;
  /** The socket is paused while more bytes than this wait. */
  readonly maxBytes: number;
  /** Called when something arrived, or the stream ended. */
  readonly wake: () => void;
}

const MAX_STATUS_MS = 10_000;

/** Messages of the replication stream (PostgreSQL manual, 53.4): data behind three 64-bit numbers, and keepalives. */
const XLOG_DATA = 0x77;
const XLOG_HEADER_BYTES = 25;
const KEEPALIVE = 0x6b;

/**
 * Reads one slot over one connection and queues what arrives, decoded, in order. One object an attempt: the library
 * resumes where it last *received*, which skips what was not applied (FIELD-NOTES E), so nothing is reused.
 *
 * The socket is paused above a number of bytes; a timer of our own tells the server our position meanwhile, because a
 * paused socket reads no keepalives and the server would end the session.
 */
export class Tail {
  readonly #options: TailOptions;
  readonly #service: LogicalReplicationService;
  readonly #acknowledger: Acknowledger;
  #socket: Socket | undefined;
  #timer: NodeJS.Timeout | undefined;
  // Parallel arrays: a message and its size on the wire. What was taken is cleared, then cut off in bulk.
  #queue: (Queued | undefined)[] = [];
  #sizes: number[] = [];
  #arrivals: number[] = [];
  #head = 0;
  #bytes = 0;
  #changes = 0;
  #paused = false;
  #inTransaction = false;
  #received: Lsn;
  #lastMessageAt: number | undefined;
  #error: Error | undefined;
  #closed = false;

  constructor(options: TailOptions) {
    this.#options = options;
    this.#received = options.start;
    const statusMs =
      options.senderTimeoutMs > 0 ? Math.min(options.senderTimeoutMs / 3, MAX_STATUS_MS) : MAX_STATUS_MS;
    this.#acknowledger = new Acknowledger(options.start, statusMs);
    // Neither acknowledgement of the library is ever right: both tell what was only received (FIELD-NOTES E, K6).
    this.#service = new LogicalReplicationService(
      clientConfig(options.endpoint, { purpose: `tail`, replication: true }),
      { acknowledge: { auto: false, timeoutSeconds: 0 }, flowControl: { enabled: false } },
    );
    this.#timer = setInterval(() => this.#status(false), Math.min(statusMs / 2, 1_000));
  }

  /** Starts streaming. @throws what the connection or START_REPLICATION was refused with. */
  open(): Promise<void> {
    const decoder = new PgoutputDecoder();
    const plugin = new QuietPlugin(this.#options.publication, ({ stream }, listen) => {
      this.#socket = stream;
      listen((chunk) => this.#arrive(decoder, chunk));
    });
    return new Promise((resolve, reject) => {
      const ended = (error: unknown): void => {
        this.#fail(error);
        reject(asError(error));
      };
      this.#service.on('start', () => {
        this.#status(true);
        resolve();
      });
      this.#service.on('error', ended);
      this.#service.subscribe(plugin, this.#options.slot, formatLsn(this.#options.start)).then(
        () => {
          ended(failure('STREAM_BROKEN', { message: 'the server ended the replication stream' }));
        },
        (error: unknown) => {
          ended(error);
        },
      );
    });
  }

  /** The next message, without taking it. */
  peek(): Queued | undefined {
    return this.#queue[this.#head];
  }

  /** When the next message arrived, in milliseconds of `performance.now()`. */
  peekArrival(): number {
    return this.#arrivals[this.#head] ?? 0;
  }

  /** Takes the next message. @returns its size on the wire in bytes. */
  take(): number {
    const message = this.#queue[this.#head];
    const size = this.#sizes[this.#head] ?? 0;
    this.#queue[this.#head] = undefined;
    this.#head += 1;
    this.#bytes -= size;
    if (message !== undefined && isChange(message)) this.#changes -= 1;
    if (this.#head === this.#queue.length || this.#head >= 16_384) {
      this.#queue.splice(0, this.#head);
      this.#sizes.splice(0, this.#head);
      this.#arrivals.splice(0, this.#head);
      this.#head = 0;
    }
    if (this.#paused && this.#bytes < this.#options.maxBytes / 2) {
      this.#paused = false;
      this.#socket?.resume();
    }
    return size;
  }

  /** `lsn` is durable on the destination: the server may forget what is before it. */
  acknowledge(lsn: Lsn): void {
    this.#acknowledger.durable(lsn);
    this.#status(false);
  }

  /** Asks the server for a keepalive, which says how far it has read. */
  ping(): void {
    void this.#service.acknowledge(onTheWire(this.#acknowledger.acknowledged ?? this.#options.start), true);
  }

  /** What ended the stream; undefined while it runs. */
  get error(): Error | undefined {
    return this.#error;
  }

  get receivedLsn(): Lsn {
    return this.#received;
  }

  get acknowledgedLsn(): Lsn | undefined {
    return this.#acknowledger.acknowledged;
  }

  /** Row changes that wait in memory. */
  get changes(): number {
    return this.#changes;
  }

  /** Milliseconds since the epoch. */
  get lastMessageAt(): number | undefined {
    return this.#lastMessageAt;
  }

  /** Ends the session; what is queued is gone, and comes again with the next one. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#queue = [];
    this.#sizes = [];
    this.#arrivals = [];
    this.#head = 0;
    await this.#service.destroy().catch(() => {});
  }

  /** Runs inside the socket's callback: whatever is thrown there would end the process (FIELD-NOTES E). */
  #arrive(decoder: PgoutputDecoder, chunk: Buffer): void {
    if (this.#error !== undefined || this.#closed) return;
    try {
      if (chunk[0] === XLOG_DATA) this.#message(decoder.decode(chunk, XLOG_HEADER_BYTES), chunk.length);
      else if (chunk[0] === KEEPALIVE) this.#keepalive(chunk.readBigUInt64BE(1), chunk[17] === 1);
    } catch (error) {
      this.#fail(error);
    }
  }

  #message(message: Message | undefined, size: number): void {
    this.#lastMessageAt = Date.now();
    if (message === undefined) return;
    if (message.kind === 'begin') this.#inTransaction = true;
    else if (message.kind === 'commit') {
      this.#inTransaction = false;
      this.#received = message.endLsn;
    }
    this.#push(message, size);
  }

  #keepalive(lsn: Lsn, asked: boolean): void {
    if (this.#closed) return;
    this.#lastMessageAt = Date.now();
    if (asked) this.#status(true);
    // Inside a transaction its position says nothing about that transaction (FIELD-NOTES A, "Feedback").
    if (this.#inTransaction || lsn <= this.#received) return;
    this.#received = lsn;
    const last = this.#queue.length - 1;
    if (last >= this.#head && this.#queue[last]?.kind === 'keepalive')
      this.#queue[last] = { kind: 'keepalive', lsn };
    else this.#push({ kind: 'keepalive', lsn }, 0);
    this.#options.wake();
  }

  #push(message: Queued, size: number): void {
    this.#queue.push(message);
    this.#sizes.push(size);
    this.#arrivals.push(message.kind === 'begin' ? performance.now() : 0);
    this.#bytes += size;
    if (isChange(message)) this.#changes += 1;
    if (!this.#paused && this.#bytes > this.#options.maxBytes) {
      this.#paused = true;
      this.#socket?.pause();
    }
    this.#options.wake();
  }

  #status(asked: boolean): void {
    if (this.#closed) return;
    const lsn = this.#acknowledger.due(performance.now(), asked);
    if (lsn !== undefined && lsn > 0n) void this.#service.acknowledge(onTheWire(lsn));
  }

  #fail(error: unknown): void {
    this.#error ??= asError(error);
    this.#options.wake();
  }
}

/**
 * The library adds one to the position it is given. One byte too far skips a transaction whose commit record starts
 * exactly there (HISTORIES 7), so it is given one less; should that ever be mended there, one less is still safe.
 */
function onTheWire(lsn: Lsn): string {
  return formatLsn(lsn - 1n);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : failure('STREAM_BROKEN', { cause: error });
}

function isChange(message: Queued): boolean {
  switch (message.kind) {
    case 'insert':
    case 'update':
    case 'delete':
    case 'truncate':
      return true;
    default:
      return false;
  }
}

/** The driver's connection, as far as a replication stream needs it. */
interface CopyConnection {
  readonly stream: Socket;
  removeAllListeners(event: 'copyData'): void;
  on(event: 'copyData', listener: (message: { readonly chunk: Buffer }) => void): void;
}

/**
 * Starts pgoutput with a quoted publication name (the library does not quote it, and pgoutput folds an unquoted one to
 * lower case), and takes the messages before the library looks at them: per message it makes a position in text, an
 * event and a promise that nobody waits for, which was a third of this program's work.
 */
class QuietPlugin extends PgoutputPlugin {
  readonly #publication: string;
  readonly #opened: (connection: CopyConnection, listen: (listener: (chunk: Buffer) => void) => void) => void;

  constructor(
    publication: string,
    opened: (connection: CopyConnection, listen: (listener: (chunk: Buffer) => void) => void) => void,
  ) {
    super({ protoVersion: 1, publicationNames: [publication], messages: true });
    this.#publication = publication;
    this.#opened = opened;
  }

  override start(client: pg.Client, slot: string, lsn: string): Promise<unknown> {
    const { connection } = client as unknown as { connection: CopyConnection };
    this.#opened(connection, (listener) => {
      connection.removeAllListeners('copyData');
      connection.on('copyData', ({ chunk }) => {
        listener(chunk);
      });
    });
    const publication = literal(ident(this.#publication)).trim();
    return client.query(
      `START_REPLICATION SLOT ${ident(slot)} LOGICAL ${lsn} ` +
        `(proto_version '1', publication_names ${publication}, messages 'true')`,
    );
  }
}

import type { Socket } from 'node:net';
import type pg from 'pg';
import { LogicalReplicationService, PgoutputPlugin } from 'pg-logical-replication';
import { ident, literal } from '../../src/mapping/identifier.ts';
import { failure } from '../errors/failure.ts';
import { clientConfig } from '../pg/connect.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import { formatLsn, type Lsn } from '../pg/lsn.ts';
import { Acknowledger } from './acknowledger.ts';
import { ByteQueue } from './byte-queue.ts';
import { type Message, PgoutputDecoder, POSTGRES_EPOCH_MICROS } from './protocol.ts';

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
const KEEPALIVE_BYTES = 18;

/** Messages of pgoutput that are told apart before they are decoded. */
const BEGIN = 0x42;
const BEGIN_TIME_AT = 9;
const COMMIT = 0x43;
const COMMIT_BYTES = 26;
const COMMIT_END_AT = 10;
const DELETE = 0x44;
const INSERT = 0x49;
const TRUNCATE = 0x54;
const UPDATE = 0x55;

/**
 * Reads one slot over one connection and queues what arrives, in order; it is decoded when somebody looks at it. One object an attempt: the library
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
  readonly #decoder = new PgoutputDecoder();
  readonly #queue = new ByteQueue();
  /** The oldest message, decoded, once somebody has looked at it. */
  #peeked: Queued | undefined;
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
    const plugin = new QuietPlugin(this.#options.publication, ({ stream }, listen) => {
      this.#socket = stream;
      listen((chunk) => this.#arrive(chunk));
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

  /** The next message, without taking it. @throws Error when it is not what protocol 1 knows. */
  peek(): Queued | undefined {
    // Messages that carry nothing for us are passed over.
    while (this.#peeked === undefined) {
      const { block, start } = this.#queue;
      if (block === undefined) return undefined;
      this.#peeked =
        block[start] === KEEPALIVE
          ? { kind: 'keepalive', lsn: block.readBigUInt64BE(start + 1) }
          : this.#decoder.decode(block, start);
      if (this.#peeked === undefined) this.#queue.take();
    }
    return this.#peeked;
  }

  /** When the next message arrived, in milliseconds of `performance.now()`; known for the begin of a transaction. */
  peekArrival(): number {
    return this.#queue.time;
  }

  /** Takes the message that was looked at. @returns its size on the wire in bytes. */
  take(): number {
    if (isChange(this.#queue.block?.[this.#queue.start])) this.#changes -= 1;
    this.#peeked = undefined;
    const size = this.#queue.take();
    if (this.#paused && this.#queue.bytes < this.#options.maxBytes / 2) {
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
    this.#send(this.#acknowledger.acknowledged ?? this.#options.start, true);
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

  /** Nothing waits in memory. */
  get idle(): boolean {
    return this.#queue.empty;
  }

  /** Commit time of the transaction that waits longest, on the source's clock; undefined when none begins here. */
  get oldestCommitMicros(): bigint | undefined {
    const { block, start } = this.#queue;
    return block?.[start] === BEGIN
      ? block.readBigInt64BE(start + BEGIN_TIME_AT) + POSTGRES_EPOCH_MICROS
      : undefined;
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
    this.#queue.clear();
    this.#peeked = undefined;
    await this.#service.destroy().catch(() => {});
  }

  /** Runs inside the socket's callback, where nothing may throw (FIELD-NOTES E): it only looks at fixed places. */
  #arrive(chunk: Buffer): void {
    if (this.#error !== undefined || this.#closed) return;
    if (chunk[0] === KEEPALIVE && chunk.length >= KEEPALIVE_BYTES)
      this.#keepalive(chunk.readBigUInt64BE(1), chunk[17] === 1);
    else if (chunk[0] === XLOG_DATA && chunk.length > XLOG_HEADER_BYTES) this.#message(chunk);
    else this.#fail(new Error(`the replication stream sent a message of kind ${chunk[0]}`));
  }

  #message(chunk: Buffer): void {
    this.#lastMessageAt = Date.now();
    const kind = chunk[XLOG_HEADER_BYTES];
    if (kind === BEGIN) this.#inTransaction = true;
    else if (kind === COMMIT && chunk.length >= XLOG_HEADER_BYTES + COMMIT_BYTES) {
      this.#inTransaction = false;
      this.#received = chunk.readBigUInt64BE(XLOG_HEADER_BYTES + COMMIT_END_AT);
    }
    if (isChange(kind)) this.#changes += 1;
    this.#queue.push(chunk, XLOG_HEADER_BYTES, kind === BEGIN ? performance.now() : 0);
    if (!this.#paused && this.#queue.bytes > this.#options.maxBytes) {
      this.#paused = true;
      this.#socket?.pause();
    }
    this.#options.wake();
  }

  #keepalive(lsn: Lsn, asked: boolean): void {
    this.#lastMessageAt = Date.now();
    if (asked) this.#status(true);
    // Inside a transaction its position says nothing about that transaction (FIELD-NOTES A, "Feedback").
    if (this.#inTransaction || lsn <= this.#received) return;
    this.#received = lsn;
    const last = this.#queue.last;
    const mark = Buffer.alloc(9);
    mark[0] = KEEPALIVE;
    mark.writeBigUInt64BE(lsn, 1);
    // One that nobody has looked at yet is replaced: an idle source says it again and again.
    if (last !== undefined && last.block[last.start] === KEEPALIVE && this.#peeked?.kind !== 'keepalive')
      last.block.set(mark, last.start);
    else this.#queue.push(mark, 0, 0);
    this.#options.wake();
  }

  #status(asked: boolean): void {
    if (this.#closed) return;
    const lsn = this.#acknowledger.due(performance.now(), asked);
    if (lsn !== undefined) this.#send(lsn, false);
  }

  /** What is lost with the connection is told again by the next one. */
  #send(lsn: Lsn, ping: boolean): void {
    if (lsn > 0n) this.#service.acknowledge(onTheWire(lsn), ping).catch(() => {});
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

function isChange(kind: number | undefined): boolean {
  return kind === INSERT || kind === UPDATE || kind === DELETE || kind === TRUNCATE;
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

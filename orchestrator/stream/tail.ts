import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { LogicalReplicationService, PgoutputPlugin } from 'pg-logical-replication';
import { ident, literal } from '../../src/mapping/identifier.ts';
import { connectionFailure, refusal } from '../errors/connection.ts';
import { failure } from '../errors/failure.ts';
import { sqlState } from '../errors/sqlstate.ts';
import { clientConfig } from '../pg/connect.ts';
import { type Endpoint, label } from '../pg/endpoint.ts';
import { formatLsn, type Lsn } from '../pg/lsn.ts';
import { Acknowledger } from './acknowledger.ts';
import { ByteQueue } from './byte-queue.ts';
import { Frames } from './frames.ts';
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
/**
 * The library waits for the end of a connection that broke in its handshake, for ever, before it tells of it.
 */
const OPEN_MS = 15_000;
const CLOSE_MS = 2_000;
/** How many decoded messages that are taken are cut off at a time. */
const CUT = 4_096;

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
  /** The oldest messages, decoded, once somebody has looked at them; undefined ones carry nothing for us. */
  #decoded: (Queued | undefined)[] = [];
  /** How many of them are taken. */
  #first = 0;
  #position = 0;
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
    const plugin = new QuietPlugin(this.#options.publication, (socket) => {
      this.#socket = socket;
      return (block, start, end) => this.#arrive(block, start, end);
    });
    return new Promise((resolve, reject) => {
      const { endpoint } = this.#options;
      const ended = (cause: unknown): void => {
        // 42501 is also what a command is refused with once the login has been accepted.
        const login =
          sqlState(cause) === '42501' ? undefined : refusal(endpoint.side, label(endpoint), cause);
        const error = login ?? cause;
        clearTimeout(late);
        this.#fail(error);
        reject(asError(error));
      };
      const late = setTimeout(
        () => ended(connectionFailure(endpoint.side, label(endpoint), undefined)),
        OPEN_MS,
      );
      this.#service.on('start', () => {
        clearTimeout(late);
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
    for (;;) {
      if (this.#decodedAhead === 0 && !this.#decodeNext()) return undefined;
      const next = this.#decoded[this.#first];
      if (next !== undefined) return next;
      this.#drop();
    }
  }

  /** How many messages have been taken. */
  get position(): number {
    return this.#position;
  }

  /**
   * The message at that position, decoded ahead of its turn; it stays where it is. Some carry nothing for us.
   * @param position from the tail's own on.
   * @returns undefined when it has not arrived.
   */
  ahead(position: number): { readonly message: Queued | undefined; readonly size: number } | undefined {
    const nth = position - this.#position;
    while (this.#decodedAhead <= nth) if (!this.#decodeNext()) return undefined;
    return { message: this.#decoded[this.#first + nth], size: this.#queue.end(nth) - this.#queue.start(nth) };
  }

  /** When the next message arrived, in milliseconds of `performance.now()`; known for the begin of a transaction. */
  peekArrival(): number {
    return this.#queue.time;
  }

  /** Takes the message that was looked at. @returns its size on the wire in bytes. */
  take(): number {
    if (isChange(this.#queue.block()?.[this.#queue.start()])) this.#changes -= 1;
    const size = this.#drop();
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
    const block = this.#queue.block();
    const start = this.#queue.start();
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
    this.#decoded = [];
    this.#first = 0;
    await Promise.race([this.#service.destroy().catch(() => {}), delay(CLOSE_MS, undefined, { ref: false })]);
  }

  /** Runs inside the socket's callback, where nothing may throw (FIELD-NOTES E): it only looks at fixed places. */
  #arrive(block: Buffer, start: number, end: number): void {
    if (this.#error !== undefined || this.#closed) return;
    const kind = block[start];
    if (kind === KEEPALIVE && end - start >= KEEPALIVE_BYTES)
      this.#keepalive(block.readBigUInt64BE(start + 1), block[start + 17] === 1);
    else if (kind === XLOG_DATA && end - start > XLOG_HEADER_BYTES)
      this.#message(block, start + XLOG_HEADER_BYTES, end);
    else this.#fail(new Error(`the replication stream sent a message of kind ${kind}`));
  }

  #message(block: Buffer, start: number, end: number): void {
    this.#lastMessageAt = Date.now();
    const kind = block[start];
    if (kind === BEGIN) this.#inTransaction = true;
    else if (kind === COMMIT && end - start >= COMMIT_BYTES) {
      this.#inTransaction = false;
      this.#received = block.readBigUInt64BE(start + COMMIT_END_AT);
    }
    if (isChange(kind)) this.#changes += 1;
    this.#queue.push(block, start, end, kind === BEGIN ? performance.now() : 0);
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
    const last = this.#queue.length - 1;
    const lastBlock = this.#queue.block(last);
    // One that nobody has looked at yet is replaced: an idle source says it again and again.
    if (last >= this.#decodedAhead && lastBlock?.[this.#queue.start(last)] === KEEPALIVE)
      lastBlock.writeBigUInt64BE(lsn, 1);
    else {
      const mark = Buffer.alloc(9);
      mark[0] = KEEPALIVE;
      mark.writeBigUInt64BE(lsn, 1);
      this.#queue.push(mark, 0, mark.length, 0);
    }
    this.#options.wake();
  }

  /** Decodes one message more. @returns false when none waits. */
  #decodeNext(): boolean {
    const nth = this.#decodedAhead;
    const block = this.#queue.block(nth);
    if (block === undefined) return false;
    const start = this.#queue.start(nth);
    this.#decoded.push(
      block[start] === KEEPALIVE
        ? { kind: 'keepalive', lsn: block.readBigUInt64BE(start + 1) }
        : this.#decoder.decode(block, start, this.#queue.end(nth)),
    );
    return true;
  }

  get #decodedAhead(): number {
    return this.#decoded.length - this.#first;
  }

  #drop(): number {
    this.#decoded[this.#first] = undefined;
    this.#first += 1;
    if (this.#first === this.#decoded.length || this.#first >= CUT) {
      this.#decoded.splice(0, this.#first);
      this.#first = 0;
    }
    this.#position += 1;
    return this.#queue.take();
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

/** Takes the content of a CopyData message. */
type Listener = (block: Buffer, start: number, end: number) => void;

/**
 * Starts pgoutput with a quoted publication name (the library does not quote it, and pgoutput folds an unquoted one to
 * lower case), and takes the messages before driver and library look at them: per message they make an object, a
 * position in text, two events and a promise that nobody waits for, which was half of this program's work.
 */
class QuietPlugin extends PgoutputPlugin {
  readonly #publication: string;
  readonly #opened: (socket: Socket) => Listener;

  constructor(publication: string, opened: (socket: Socket) => Listener) {
    super({ protoVersion: 1, publicationNames: [publication], messages: true });
    this.#publication = publication;
    this.#opened = opened;
  }

  override start(client: pg.Client, slot: string, lsn: string): Promise<unknown> {
    const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
    const copyData = this.#opened(stream);
    // Between two queries the driver holds no half message. All but CopyData it still gets, and in whole messages.
    const driver = stream.listeners('data') as ((chunk: Buffer) => void)[];
    const frames = new Frames({
      copyData,
      other: (message) => {
        for (const listen of driver) listen(message);
      },
    });
    stream.removeAllListeners('data');
    stream.on('data', (chunk: Buffer) => {
      frames.read(chunk);
    });
    const publication = literal(ident(this.#publication)).trim();
    return client.query(
      `START_REPLICATION SLOT ${ident(slot)} LOGICAL ${lsn} ` +
        `(proto_version '1', publication_names ${publication}, messages 'true')`,
    );
  }
}

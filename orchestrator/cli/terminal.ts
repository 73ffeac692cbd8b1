import type { Writable } from 'node:stream';

import { wrap } from './wrap.ts';

type Stream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Where a command writes: results on stdout, everything else on stderr, and what both are able to show. */
export interface Terminal {
  readonly json: boolean;
  /** Whether a person can be asked: both ends of the conversation are terminals. */
  readonly interactive: boolean;
  readonly stderrIsTerminal: boolean;
  /** Styles for stdout and stderr: plain where there is no terminal or NO_COLOR is set. */
  readonly out: Style;
  readonly err: Style;
  readonly columns: number;
  /** A piece of the result. */
  write(text: string): void;
  /** The document of `--json`; the second one of a run is dropped: stdout carries exactly one. */
  document(document: object): void;
  /** One line of followed output: text as it is, or an object as JSON. */
  line(item: object | string): void;
  /** The newest state of something that is watched: in place on a terminal, one after the other elsewhere. */
  redraw(text: string): void;
  /** One line for the person who watches. */
  note(line: string): void;
  /**
   * Keeps one line at the end of stderr, in place of the one before; null takes it away. Undefined where stderr is no
   * terminal that can do so, or a machine reads along.
   */
  readonly sticky: ((line: string | null) => void) | undefined;
  /** Whether anything was followed: then the end of it is no failure that has to be told. */
  readonly followed: boolean;
  /** Aborted when nobody reads stdout any more (EPIPE, a lost terminal, a full disk); the reason is the stream's error. */
  readonly unread: AbortSignal;
}

export interface Style {
  readonly colour: boolean;
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

export function style(colour: boolean): Style {
  const wrap = (on: number, off: number) => (text: string) =>
    colour && text !== '' ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  return {
    colour,
    bold: wrap(1, 22),
    dim: wrap(2, 22),
    red: wrap(31, 39),
    green: wrap(32, 39),
    yellow: wrap(33, 39),
  };
}

export interface TerminalOptions {
  readonly stdin: { readonly isTTY?: boolean };
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly json: boolean;
}

/** https://no-color.org: set to anything but nothing. */
function mayColour(stream: Stream, environment: TerminalOptions['environment']): boolean {
  return stream.isTTY === true && !environment['NO_COLOR'] && environment['TERM'] !== 'dumb';
}

const CLEAR_LINE = '\r\u001b[K';

const unreadBy = new WeakMap<Stream, AbortController>();

/** A stream that is gone must not end the process: who reads may leave, the work goes on. */
function guard(stream: Stream): AbortSignal {
  let gone = unreadBy.get(stream);
  if (gone === undefined) {
    const controller = new AbortController();
    gone = controller;
    unreadBy.set(stream, controller);
    stream.on('error', (error) => controller.abort(error));
  }
  return gone.signal;
}

export function createTerminal(options: TerminalOptions): Terminal {
  const { stdin, stdout, stderr, environment, json } = options;
  const unread = guard(stdout);
  const deaf = guard(stderr);
  let written = false;
  let followed = false;
  let kept: string | null = null;
  const canKeep = stderr.isTTY === true && environment['TERM'] !== 'dumb' && !json;
  // A line that wraps could not be taken away again.
  const fitting = (line: string): string => line.slice(0, (stderr.columns ?? 80) - 1);
  const keep = (line: string | null): void => {
    if (line === kept) return;
    kept = line;
    put(stderr, deaf, `${CLEAR_LINE}${line === null ? '' : fitting(line)}`);
  };
  // Elsewhere a line is a line, whatever its length: somebody searches in it.
  const broken = (stream: Stream, text: string): string =>
    stream.isTTY === true && !json ? wrap(text, stream.columns ?? 80) : text;
  const put = (stream: Stream, gone: AbortSignal, text: string): void => {
    if (!gone.aborted && !stream.destroyed) stream.write(text);
  };
  return {
    json,
    interactive: stdin.isTTY === true && stderr.isTTY === true,
    stderrIsTerminal: stderr.isTTY === true,
    out: style(mayColour(stdout, environment)),
    err: style(mayColour(stderr, environment)),
    columns: stdout.columns ?? 80,
    write: (text) => put(stdout, unread, broken(stdout, text)),
    document(document) {
      if (written || followed) return;
      written = true;
      put(stdout, unread, `${JSON.stringify(document, plainNumbers, 2)}\n`);
    },
    line(item) {
      followed = true;
      put(
        stdout,
        unread,
        `${typeof item === 'string' ? broken(stdout, item) : JSON.stringify(item, plainNumbers)}\n`,
      );
    },
    redraw(text) {
      followed = true;
      put(
        stdout,
        unread,
        stdout.isTTY === true ? `\u001b[H\u001b[2J${broken(stdout, text)}\n` : `${text}\n\n`,
      );
    },
    get followed() {
      return followed;
    },
    sticky: canKeep ? keep : undefined,
    note(text) {
      const line = broken(stderr, text);
      put(stderr, deaf, kept === null ? `${line}\n` : `${CLEAR_LINE}${line}\n${fitting(kept)}`);
    },
    unread,
  };
}

/** JSON has no bigint; what we count fits a number. */
function plainNumbers(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

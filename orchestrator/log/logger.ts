import { createRequire } from 'node:module';
import type * as Pino from 'pino';
import { factsOf } from './facts.ts';
import type { Log, Progress } from './log.ts';
import { printable, scrub } from './redact.ts';

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
type Level = (typeof LEVELS)[number];

export interface LoggerOptions {
  readonly format: 'text' | 'json';
  readonly level: Level;
  /** In every line. */
  readonly migration: string;
  /** Where lines go, whole; stderr unless a test wants them. */
  readonly write?: (line: string) => void;
  /** Where progress is shown; nowhere unless somebody watches a terminal. */
  readonly progress?: ((state: Progress | null) => void) | undefined;
}

/**
 * The log on stderr: one line a fact, for people (`text`) or for machines (`json`, by pino). Both are written
 * synchronously: the last line before a crash is the one that matters. Fields are redacted before either sees them.
 */
export function createLogger(options: LoggerOptions): Log {
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const log = options.format === 'json' ? jsonLog(options, write) : textLog(options, write);
  return { ...log, progress: options.progress };
}

function jsonLog(options: LoggerOptions, write: (line: string) => void): Log {
  // Loaded only for those who want it: every other command is quicker without.
  const { pino } = createRequire(import.meta.url)('pino') as typeof Pino;
  const logger = pino(
    {
      level: options.level,
      base: { migration: options.migration },
      messageKey: 'message',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  const at = (level: Level) => (fields: object, message: string) =>
    logger[level](printable(fields) as object, scrub(message));
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

function textLog(options: LoggerOptions, write: (line: string) => void): Log {
  const least = LEVELS.indexOf(options.level);
  const at =
    (level: Level) =>
    (fields: object, message: string): void => {
      if (LEVELS.indexOf(level) < least) return;
      const time = new Date().toISOString();
      const facts = factsOf(printable(fields) as object);
      write(`${[time, level.toUpperCase().padEnd(5), oneLine(scrub(message)), ...facts].join(' ')}\n`);
    };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Control characters of a server's message must not start a line or move a terminal's cursor. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
}

import type { Settings } from '../config/settings.ts';
import type { OptionName } from '../config/tree.ts';
import type { Log } from '../log/log.ts';
import type { CommandName } from './summaries.ts';
import type { Terminal } from './terminal.ts';

/** A flag of one command. Unlike an option of the configuration tree it has no variable and no place in a file. */
export interface Flag {
  readonly kind: 'boolean' | 'text';
  readonly describe: string;
  readonly choices?: readonly string[];
}

/** What a command is handed when it runs. */
export interface Call {
  /** The command's name. */
  readonly name: string;
  readonly settings: Settings;
  /** The command's own flags and positional, by name. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly log: Log;
  readonly terminal: Terminal;
  /** Aborted by SIGINT (reason INTERRUPTED) and SIGTERM (reason TERMINATED). */
  readonly signal: AbortSignal;
}

/** How a command ends. */
export interface Result {
  /** As DESIGN 10 lists them. */
  readonly exit: number;
  /** The one document of `--json`; null when the command has already written what it had to say. */
  readonly document: object | null;
  /** The same for a person. */
  readonly text?: () => string;
}

/** Options of the tree as they stood on the command line. */
export type GivenOptions = Partial<Record<OptionName, unknown>>;

/** One command: what the help says of it, and how it is carried out. */
export interface Command {
  readonly name: CommandName;
  readonly describe: string;
  /** A word after the command's name that has to be given. */
  readonly action?: { readonly choices: readonly string[]; readonly describe: string };
  readonly flags: Readonly<Record<string, Flag>>;
  /** Options of the tree that its help lists beside connections and output; it accepts every one. */
  readonly options: readonly OptionName[];
  /** What the command itself brings along for options that were given; absent where it takes them as they are. */
  readonly adapt?: (given: GivenOptions) => GivenOptions;
  readonly examples: readonly (readonly [string, string])[];
  /**
   * Whether it changes something: then a lost terminal (SIGHUP, closed stdout) neither ends nor cancels it, and a
   * signal is left to the work itself to answer.
   */
  readonly acts: boolean;
  run(call: Call): Promise<Result>;
}

import yargs, { type Argv } from 'yargs';
import { nearest } from '../config/nearest.ts';
import { OPTION_NAMES } from '../config/tree.ts';
import { failure, OrchestrateError } from '../errors/failure.ts';
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { commandFlags, optionFlags } from './flags.ts';
import { EPILOGUE, helpWidth, USAGE } from './root-help.ts';
import { packageVersion } from './version.ts';

/** What the command line asks for: a command with its flags, or nothing, when help or the version was printed. */
export type Parsed =
  | { readonly command: Command; readonly argv: Readonly<Record<string, unknown>> }
  | { readonly printed: string };

/**
 * Reads a command line. Nothing is executed and nothing printed here.
 * @param columns the width for the help.
 * @throws OrchestrateError CONFIG_INVALID for a usage error.
 */
export async function parseCommandLine(args: readonly string[], columns: number): Promise<Parsed> {
  let chosen: { command: Command; argv: Record<string, unknown> } | undefined;
  const parser = configure(yargs(), columns, (command, argv) => {
    chosen = { command, argv };
  });
  let printed = '';
  try {
    await parser.parseAsync([...args], {}, (_error: unknown, _argv: unknown, output: string) => {
      printed = output;
    });
  } catch (error) {
    throw error instanceof OrchestrateError ? error : usage(String((error as Error).message), args[0]);
  }
  if (chosen !== undefined) return chosen;
  return { printed: withoutTypes(printed) };
}

/** yargs says of every flag that it is a string or a boolean; the prose says it better. */
function withoutTypes(help: string): string {
  return help
    .replaceAll(/^ +\[(?:string|boolean)\](?: \[choices: .*\])?\n/gm, '')
    .replaceAll(/ *\[(?:string|boolean)\](?: \[choices: .*\])?$/gm, '');
}

function configure(
  program: Argv,
  columns: number,
  choose: (command: Command, argv: Record<string, unknown>) => void,
): Argv {
  program
    .scriptName('orchestrate')
    .usage(USAGE)
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'boolean-negation': false,
    })
    .locale('en')
    .wrap(helpWidth(columns))
    .exitProcess(false)
    .showHelpOnFail(false)
    .recommendCommands()
    .strict()
    .demandCommand(1, 'a command is missing')
    .help()
    .alias('help', 'h')
    .version(packageVersion())
    .epilogue(EPILOGUE)
    .fail((message: string | null, error: Error | undefined) => {
      throw error ?? new Error(message ?? 'the command line cannot be read');
    });
  for (const command of COMMANDS)
    program.command(
      command.action === undefined ? command.name : `${command.name} <action>`,
      command.describe,
      (sub) => describeCommand(sub, command),
      (argv) => choose(command, argv as Record<string, unknown>),
    );
  return program;
}

function describeCommand(sub: Argv, command: Command): Argv {
  if (command.action !== undefined)
    sub.positional('action', {
      choices: command.action.choices,
      describe: command.action.describe,
      demandOption: true,
    });
  sub.options(commandFlags(command)).options(optionFlags(command));
  for (const [line, what] of command.examples) sub.example(line, what);
  return sub;
}

const FLAGS = [...OPTION_NAMES, 'json', 'help', 'version', ...COMMANDS.flatMap((c) => Object.keys(c.flags))];

/**
 * What yargs has to say, with expectation and finding apart, and the name that was probably meant.
 * @param word what stands first on the command line.
 */
function usage(message: string, word = ''): OrchestrateError {
  const is = (what: string, expected: string, found: string) =>
    failure('CONFIG_INVALID', { message: what, expected, found });
  const choice = /Argument: (\S+), Given: (.*), Choices: (.*)/.exec(message);
  if (choice !== null) return is(`${choice[1]} cannot be used`, `one of ${choice[3]}`, choice[2] ?? '');
  const valueless = /^Not enough arguments following: (\S+)/.exec(message);
  if (valueless !== null) return is(`--${valueless[1]} cannot be used`, 'a value after it', 'none');
  const command = /^Did you mean (\S+)\?/.exec(message);
  if (command !== null) return is('there is no such command', `orchestrate ${command[1]}`, word.slice(0, 40));
  const unknown = /^Unknown arguments?: (.*)$/m.exec(message)?.[1]?.split(', ');
  if (unknown !== undefined) {
    const near = unknown.flatMap((name) => nearest(name, FLAGS) ?? []).map((flag) => `--${flag}`);
    return is(
      message.slice(0, 200),
      near.length > 0 ? [...new Set(near)].join(', ') : 'what orchestrate --help lists',
      unknown.map((name) => name.slice(0, 40)).join(', '),
    );
  }
  return is(message.split('\n')[0] ?? message, 'a command line as in orchestrate --help', 'another one');
}

import yargs, { type Argv } from 'yargs';
import { nearest } from '../config/nearest.ts';
import { OPTION_NAMES } from '../config/tree.ts';
import { failure, OrchestrateError } from '../errors/failure.ts';
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { commandFlags, optionFlags } from './flags.ts';
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
    throw error instanceof OrchestrateError ? error : usage(String((error as Error).message));
  }
  if (chosen !== undefined) return chosen;
  return { printed };
}

function configure(
  program: Argv,
  columns: number,
  choose: (command: Command, argv: Record<string, unknown>) => void,
): Argv {
  program
    .scriptName('orchestrate')
    .usage('$0 <command>\n\nBlue-green PostgreSQL migration: copy, sync, verify, cut over, and back.')
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'boolean-negation': false,
    })
    .locale('en')
    .wrap(Math.max(60, Math.min(100, columns)))
    .exitProcess(false)
    .showHelpOnFail(false)
    .recommendCommands()
    .strict()
    .demandCommand(1, 'a command is missing')
    .help()
    .alias('help', 'h')
    .version(packageVersion())
    .epilogue(
      'Every option can stand in the environment (ORCHESTRATE_MAX_LAG) or in the file of --config (max-lag).',
    )
    .fail((message: string | null, error: Error | undefined) => {
      throw error ?? usage(message ?? 'the command line cannot be read');
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

/** A usage error with the flag that was probably meant. */
function usage(message: string): OrchestrateError {
  const unknown = /^Unknown arguments?: (.*)$/m.exec(message)?.[1]?.split(', ') ?? [];
  const near = unknown.flatMap((word) => nearest(word, FLAGS) ?? []).map((flag) => `--${flag}`);
  return failure('CONFIG_INVALID', {
    message: message.split('\n')[0] ?? message,
    expected: near.length > 0 ? [...new Set(near)].join(', ') : 'a command line as in orchestrate --help',
    found:
      unknown.length > 0
        ? unknown.map((word) => word.slice(0, 40)).join(', ')
        : (message.split('\n').at(-1) ?? message),
  });
}

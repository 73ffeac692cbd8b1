import type { Options } from 'yargs';
import { OPTION_NAMES, OPTIONS, type Option, type OptionName, optionOf } from '../config/tree.ts';
import type { Command } from './command.ts';

/** The groups of the tree that every command's help lists. */
const ALWAYS: readonly string[] = ['Connections', 'Output'];

/**
 * The tree's options as flags. All are text to yargs, so that one place checks them, with the same words wherever a
 * value came from; a value that yargs would read as a number or drop never gets that far.
 */
export function optionFlags(command: Command): Record<string, Options> {
  const flags: Record<string, Options> = {};
  for (const name of OPTION_NAMES) {
    const option: Option = optionOf(name);
    const shown =
      ALWAYS.includes(option.group) || name === 'migration' || (command.options as string[]).includes(name);
    flags[name] = {
      ...(option.kind === 'boolean' ? { type: 'boolean' } : { type: 'string', requiresArg: true }),
      describe: describe(option),
      group: `${option.group}:`,
      hidden: !shown,
    };
  }
  flags['json'] = { type: 'boolean', describe: 'Short for --output json', group: 'Output:' };
  return flags;
}

function describe(option: Option): string {
  const notes = [
    ...(option.choices === undefined ? [] : [option.choices.join('|')]),
    ...(option.default === undefined || option.kind === 'boolean' ? [] : [`default ${option.default}`]),
  ];
  return notes.length === 0 ? option.describe : `${option.describe} [${notes.join('; ')}]`;
}

/** The command's own flags. */
export function commandFlags(command: Command): Record<string, Options> {
  return Object.fromEntries(
    Object.entries(command.flags).map(([name, flag]) => [
      name,
      {
        ...(flag.kind === 'boolean' ? { type: 'boolean' } : { type: 'string', requiresArg: true }),
        describe: flag.choices === undefined ? flag.describe : `${flag.describe} [${flag.choices.join('|')}]`,
        group: 'Command:',
        ...(flag.choices === undefined ? {} : { choices: flag.choices }),
      } satisfies Options,
    ]),
  );
}

/** @returns the options of the tree that stood on the command line, by name; `--json` counts as `--output json`. */
export function givenOptions(
  parsed: Readonly<Record<string, unknown>>,
): Partial<Record<OptionName, unknown>> {
  const given: Partial<Record<OptionName, unknown>> = {};
  for (const name of Object.keys(OPTIONS) as OptionName[])
    if (parsed[name] !== undefined) given[name] = parsed[name];
  if (parsed['json'] === true) given.output = 'json';
  return given;
}

import type { Command } from '../../../orchestrator/cli/command.ts';
import { COMMANDS } from '../../../orchestrator/cli/commands.ts';
import {
  environmentName,
  expectation,
  type Group,
  OPTION_NAMES,
  type Option,
  type OptionName,
  optionOf,
} from '../../../orchestrator/config/tree.ts';
import { code, table } from './markdown.ts';

function described(command: Command): string {
  const action = command.action === undefined ? '' : ` ${command.action.choices.join('|')}`;
  const flags = Object.entries(command.flags).map(([name, flag]) => {
    const value = flag.kind === 'boolean' ? '' : ` ${flag.choices?.join('|') ?? 'VALUE'}`;
    return `- ${code(`--${name}${value}`)} ${flag.describe}`;
  });
  const options = command.options.map((name) => code(`--${name}`)).join(' ');
  const examples = command.examples.map(
    ([line, what]) => `- ${code(line.replace('$0', 'orchestrate'))}: ${what}`,
  );
  return [
    `#### ${code(`orchestrate ${command.name}${action}`)}`,
    '',
    `${command.describe}.`,
    ...(flags.length === 0 ? [] : ['', ...flags]),
    ...(options === '' ? [] : ['', `Reads, of the configuration: ${options}.`]),
    ...(examples.length === 0 ? [] : ['', 'Examples:', '', ...examples]),
  ].join('\n');
}

/** Every command with its own flags. */
export function commands(): string {
  return COMMANDS.map(described).join('\n\n');
}

function row(name: OptionName): string[] {
  const option: Option = optionOf(name);
  return [
    code(`--${name}`),
    code(environmentName(name)),
    option.default === undefined ? '' : code(option.default),
    option.kind === 'choice' ? (option.choices ?? []).map(code).join(', ') : expectation(option),
    `${option.describe}${option.notInFile === true ? ' (not in a file)' : ''}`,
  ];
}

/** The tree of configuration, group by group. */
export function options(): string {
  const groups = [...new Set(OPTION_NAMES.map((name) => optionOf(name).group))];
  const tableOf = (group: Group) =>
    table(
      ['flag', 'variable', 'default', 'value', 'meaning'],
      OPTION_NAMES.filter((name) => optionOf(name).group === group).map(row),
    );
  return groups.map((group) => `#### ${group}\n\n${tableOf(group)}`).join('\n\n');
}

import { COMMANDS } from '../../../orchestrator/cli/commands.ts';
import { commandFlags, optionFlags } from '../../../orchestrator/cli/flags.ts';

export interface FoundLine {
  /** As it stands in the text, e.g. `orchestrate run --truncate apply`. */
  readonly line: string;
  readonly args: readonly string[];
  readonly at: number;
}

/**
 * The command lines in a sentence: `orchestrate`, a command, its action, and as many flags with their values as
 * follow. What cannot be a part of one (`orchestrate status, then …`) ends it.
 * @returns them from the last to the first, so that a text can be changed from behind.
 */
export function commandLinesOf(text: string): FoundLine[] {
  return [...text.matchAll(/\borchestrate(?= (?:[a-z]|--))/g)].map((m) => lineAt(text, m.index)).reverse();
}

function lineAt(text: string, at: number): FoundLine {
  const words = [...text.slice(at).matchAll(/[^\s,;:)`]+/g)];
  const separated = (n: number) => /[,;:)`]/.test(text.slice(at + endOf(n - 1), at + (words[n]?.index ?? 0)));
  const endOf = (n: number) => (words[n]?.index ?? 0) + (words[n]?.[0].length ?? 0);
  const word = (n: number) => (n < words.length && !separated(n) ? words[n]?.[0] : undefined);
  const command = COMMANDS.find((c) => c.name === word(1));
  let n = command === undefined ? 1 : 2;
  if (command?.action?.choices.includes(word(n) ?? '')) n += 1;
  const flags = command === undefined ? {} : { ...optionFlags(command), ...commandFlags(command) };
  for (let next = word(n); next?.startsWith('--'); next = word(n)) {
    n += 1;
    const known = flags[next.slice(2)];
    if (known !== undefined && known.type !== 'boolean' && word(n) !== undefined) n += 1;
  }
  const line = text.slice(at, at + endOf(n - 1));
  return { line, args: line.split(/\s+/).slice(1), at };
}

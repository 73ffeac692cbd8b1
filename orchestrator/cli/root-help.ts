import { type CommandName, SUMMARIES, WITH_ACTION } from './summaries.ts';
import { packageVersion } from './version.ts';

/** What the parser's own help says first and last, too. */
export const USAGE =
  '$0 <command>\n\nBlue-green PostgreSQL migration: copy, sync, verify, cut over, and back.';
export const EPILOGUE =
  'Every option can stand in the environment (ORCHESTRATE_MAX_LAG) or in the file of --config (max-lag).';

/** @returns the width of the help: of the terminal, within what can be read. */
export function helpWidth(columns: number): number {
  return Math.max(60, Math.min(100, columns));
}

/**
 * The answer to a command line that asks for nothing but the list of commands or the version. It is the one thing
 * people wait for with nothing to show for it, so the parser and the commands are not even loaded; a test compares
 * it with what the parser would print.
 * @returns undefined for every other command line.
 */
export function quickAnswer(args: readonly string[], columns: number): string | undefined {
  const [only, ...more] = args;
  if (more.length > 0) return undefined;
  if (only === '--version') return packageVersion();
  return only === '--help' || only === '-h' ? rootHelp(helpWidth(columns)) : undefined;
}

function rootHelp(width: number): string {
  const names = (Object.keys(SUMMARIES) as CommandName[]).map((name) => ({
    line: `  orchestrate ${name}${WITH_ACTION.includes(name) ? ' <action>' : ''}`,
    summary: SUMMARIES[name],
  }));
  const left = Math.max(...names.map(({ line }) => line.length)) + 2;
  const commands = names.flatMap(({ line, summary }) =>
    wrap(summary, width - left).map((part, i) => (i === 0 ? line : '').padEnd(left) + part),
  );
  return [
    ...USAGE.replace('$0', 'orchestrate')
      .split('\n')
      .flatMap((line) => wrap(line, width)),
    '',
    'Commands:',
    ...commands,
    '',
    'Options:',
    '  -h, --help     Show help',
    '      --version  Show version number',
    '',
    ...wrap(EPILOGUE, width),
  ].join('\n');
}

/** Words into lines of at most that many characters. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines.push(`${lines.pop()} ${word}`);
    else lines.push(word);
  }
  return lines;
}

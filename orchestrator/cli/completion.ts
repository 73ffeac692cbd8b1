import { OPTION_NAMES, optionOf } from '../config/tree.ts';
import type { Call, Command, Result } from './command.ts';
import type { CompletionDocument } from './documents.ts';
import { SUMMARIES } from './summaries.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

export const completion: Command = {
  name: 'completion',
  describe: SUMMARIES.completion,
  action: { choices: SHELLS, describe: 'Which shell' },
  flags: {},
  options: [],
  examples: [
    ['$0 completion bash', 'into a file of /etc/bash_completion.d'],
    ['$0 completion zsh', 'into a file _orchestrate on fpath'],
    ['$0 completion fish', 'into ~/.config/fish/completions/orchestrate.fish'],
  ],
  acts: false,
  run: print,
};

async function print({ flags }: Call): Promise<Result> {
  const { COMMANDS } = await import('./commands.ts');
  const shell = flags['action'] as (typeof SHELLS)[number];
  const document: CompletionDocument = { shell, script: SCRIPTS[shell](COMMANDS) };
  return { exit: 0, document, text: () => document.script };
}

const GLOBAL = ['json', 'help', ...OPTION_NAMES];

/** What may follow a command: its actions and flags, and the options that every command takes. */
const wordsAfter = (command: Command): string[] => [
  ...(command.action?.choices ?? []),
  ...[...Object.keys(command.flags), ...GLOBAL].map((flag) => `--${flag}`),
];

/** The values of flags that have a fixed set of them, of the tree and of commands. */
function choices(commands: readonly Command[]): [flag: string, values: readonly string[]][] {
  const found = new Map<string, readonly string[]>();
  for (const name of OPTION_NAMES) {
    const { choices: values } = optionOf(name);
    if (values !== undefined) found.set(`--${name}`, values);
  }
  for (const { flags } of commands)
    for (const [name, { choices: values }] of Object.entries(flags))
      if (values !== undefined) found.set(`--${name}`, values);
  return [...found];
}

/** Flags whose value is a path: the shell's own completion of files is better. */
const FILES = OPTION_NAMES.filter((name) => optionOf(name).kind === 'path').map((name) => `--${name}`);

function bash(commands: readonly Command[]): string {
  const names = commands.map((c) => c.name).join(' ');
  return `# orchestrate completion for bash
_orchestrate() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]}
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${names} --help --version" -- "$cur"))
    return
  fi
  case $prev in
${choices(commands)
  .map(
    ([flag, values]) => `    ${flag}) COMPREPLY=($(compgen -W "${values.join(' ')}" -- "$cur")); return ;;`,
  )
  .join('\n')}
    ${FILES.join('|')}) COMPREPLY=($(compgen -f -- "$cur")); return ;;
  esac
  case \${COMP_WORDS[1]} in
${commands
  .map((c) => `    ${c.name}) COMPREPLY=($(compgen -W "${wordsAfter(c).join(' ')}" -- "$cur")) ;;`)
  .join('\n')}
  esac
}
complete -F _orchestrate orchestrate`;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function zsh(commands: readonly Command[]): string {
  return `#compdef orchestrate
# orchestrate completion for zsh
_orchestrate() {
  local -a commands
  commands=(
${commands.map((c) => `    ${quoted(`${c.name}:${c.describe}`)}`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case $words[CURRENT-1] in
${choices(commands)
  .map(([flag, values]) => `    ${flag}) compadd -- ${values.join(' ')}; return ;;`)
  .join('\n')}
    ${FILES.join('|')}) _files; return ;;
  esac
  case $words[2] in
${commands.map((c) => `    ${c.name}) compadd -- ${wordsAfter(c).join(' ')} ;;`).join('\n')}
  esac
}
if [ "$funcstack[1]" = _orchestrate ]; then _orchestrate "$@"; else compdef _orchestrate orchestrate; fi`;
}

function fish(commands: readonly Command[]): string {
  const lines = ['# orchestrate completion for fish', 'complete -c orchestrate -f'];
  for (const c of commands) {
    const after = `__fish_seen_subcommand_from ${c.name}`;
    lines.push(`complete -c orchestrate -n __fish_use_subcommand -a ${c.name} -d ${quoted(c.describe)}`);
    if (c.action)
      lines.push(`complete -c orchestrate -n '${after}' -a ${quoted(c.action.choices.join(' '))}`);
    for (const [name, flag] of Object.entries(c.flags))
      lines.push(
        `complete -c orchestrate -n '${after}' -l ${name} -d ${quoted(flag.describe)}${flag.choices ? ` -x -a ${quoted(flag.choices.join(' '))}` : flag.kind === 'text' ? ' -x' : ''}`,
      );
  }
  for (const name of OPTION_NAMES) {
    const { kind, choices: values, describe } = optionOf(name);
    const value =
      kind === 'boolean'
        ? ''
        : kind === 'path'
          ? ' -r -F'
          : values
            ? ` -x -a ${quoted(values.join(' '))}`
            : ' -x';
    lines.push(`complete -c orchestrate -l ${name} -d ${quoted(describe)}${value}`);
  }
  return lines.join('\n');
}

const SCRIPTS: Readonly<Record<(typeof SHELLS)[number], (commands: readonly Command[]) => string>> = {
  bash,
  zsh,
  fish,
};

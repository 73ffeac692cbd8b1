/** A fenced block of the README. */
export interface Block {
  /** The line of its opening fence, from 1. */
  readonly line: number;
  readonly language: string;
  /** The words after the language: how the block is tested. */
  readonly marks: readonly string[];
  readonly text: string;
}

/** @returns every fenced block, in order. @throws Error for a fence that is never closed. */
export function blocksOf(readme: string): Block[] {
  const blocks: Block[] = [];
  let open: { line: number; info: string; text: string[] } | undefined;
  for (const [i, text] of readme.split('\n').entries()) {
    const fence = /^```(.*)$/.exec(text);
    if (fence === null) open?.text.push(text);
    else if (open === undefined) open = { line: i + 1, info: fence[1] ?? '', text: [] };
    else {
      const [language = '', ...marks] = open.info.trim().split(/\s+/);
      blocks.push({ line: open.line, language, marks, text: open.text.join('\n') });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`the fence of line ${open.line} is not closed`);
  return blocks;
}

/** @returns the commands of a shell block, one a line, without comments; `&&` and loops are taken apart. */
export function commandsOf(block: Block): string[] {
  return block.text
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .flatMap((line) => line.split(/\s*(?:&&|\|\||;)\s*/))
    .map((part) => part.replace(/^(?:until|while|do|done)\b\s*/, '').trim())
    .filter((part) => part !== '');
}

/** @returns the words of a command as a shell takes them apart: quotes are respected, nothing is expanded. */
export function wordsOf(command: string): string[] {
  return [...command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map((m) => m[1] ?? m[2] ?? m[3] ?? '');
}

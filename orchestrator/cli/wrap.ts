/** Colours and the like, which take no room. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
const ESCAPE = /\u001b\[[0-9;]*m/g;

/** What stands before the text of a line: a time and a level, or marks, numbers, a word and the gap behind it. Further lines begin below it. */
const HEAD =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours may stand in it
  /^(?:\d{4}-\d\d-\d\dT\S+Z [A-Z]+ +|(?:\u001b\[[0-9;]*m|[ ✓✗!?])*(?:\d+ )?(?:(?:\u001b\[[0-9;]*m)*(?:[\w.:(),-]+ )*[\w.:(),-]+(?:\u001b\[[0-9;]*m| ){2,})*)/;

/** Between words; not between an option and its value, which are copied together. */
const BREAK = /(?<! --[\w-]+)(?<=\S)(?= )/;

/** A deeper beginning would leave too little room. */
const DEEPEST = 34;

const widthOf = (text: string): number => text.replaceAll(ESCAPE, '').length;

/**
 * Breaks lines at spaces so that none is wider than a terminal. A word without a space in it, such as a path or a
 * position, stays whole: it is there to be copied.
 */
export function wrap(text: string, columns: number): string {
  return text
    .split('\n')
    .map((line) => (widthOf(line) <= columns ? line : broken(line, columns)))
    .join('\n');
}

function broken(line: string, columns: number): string {
  const head = HEAD.exec(line)?.[0] ?? '';
  const deep = widthOf(head);
  const indent = ' '.repeat(deep > DEEPEST ? 4 : deep);
  const lines: string[] = [];
  let current = head;
  let empty = true;
  for (const word of line.slice(head.length).split(BREAK)) {
    if (!empty && widthOf(current) + widthOf(word) > columns) {
      lines.push(current.trimEnd());
      current = indent;
      empty = true;
    }
    current += empty ? word.trimStart() : word;
    empty = false;
  }
  return [...lines, current].join('\n');
}
